"""What a running hub counts, as Prometheus reads it.

Owns the names of the metrics and nothing else: the parts keep their own counts, and they are
collected when somebody asks.
"""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from hub.parts import Hub


class HubCollector(Collector):
    """Collects the counts of one hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def collect(self) -> Iterator[Metric]:
        """Every metric, as it stands now."""
        hub = self._hub
        subscribers = hub.broadcaster.everyone
        gauges = {
            "connections": ("WebSockets and streams that are open.", len(hub.connections)),
            "subscribers_catching_up": ("Subscriptions that are not live.", sum(not each.live for each in subscribers)),
            "unsent_bytes": ("Data that clients have not taken yet.", sum(each.buffered() for each in hub.connections)),
            "listening": ("1 while the hub hears the database.", int(hub.listener.ready.is_set())),
            "head": ("The seq of the newest event that was heard.", hub.broadcaster.head),
        }
        counters = {
            "deliveries": ("Events handed to live subscriptions, times subscriptions.", hub.broadcaster.deliveries),
            "broadcasts": ("Turns of the event loop in which events were written out.", hub.broadcaster.flushes),
            "notes_written": ("Notes that clients published and the database has.", hub.writer.written),
            "write_batches": ("Statements that wrote them.", hub.writer.batches),
            "log_reads": ("Queries for clients that the ring could not serve.", hub.replay.reads),
            "log_gaps": ("Times that the log was read because a notification did not follow.", hub.listener.gaps),
            "listener_reconnects": ("Times that the listening connection was lost.", hub.listener.reconnects),
        }
        for name, (text, value) in gauges.items():
            yield GaugeMetricFamily(f"hub_{name}", text, value)
        for name, (text, value) in counters.items():
            yield CounterMetricFamily(f"hub_{name}", text, value)


def registry(hub: Hub) -> CollectorRegistry:
    """The metrics of a hub."""
    metrics = CollectorRegistry()
    metrics.register(HubCollector(hub))
    return metrics


def page(metrics: CollectorRegistry) -> bytes:
    """The text that ``/metrics`` answers."""
    return generate_latest(metrics)
