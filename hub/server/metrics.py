"""What a running hub counts, as Prometheus reads it.

Owns the names of the metrics. The parts keep their own counts, which are collected when somebody asks. Where several
workers make one hub, each series names its worker: a sum would fall when a worker is replaced, and Prometheus would
take that for a restart of all.
"""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from hub.delivery.ways import WAYS, way_of
from hub.server.context import Context

Counts = dict[str, int]  # by the name of the metric
Counting = Callable[[], Awaitable[Mapping[str, Counts]]]  # by the name of the worker, "" for a hub that is one process
# Takes what counts for this process, and gives for a block what counts for the whole hub.
Sharing = Callable[[Callable[[], Counts]], contextlib.AbstractAsyncContextManager[Counting]]

GAUGES = {
    "connections": "WebSockets and streams that are open.",
    "subscribers_catching_up": "Subscriptions that are not live.",
    "clients_io_uring": "Live clients that are written to together, in one system call.",
    "clients_direct": "Live clients that are written to by a system call for each.",
    "clients_transport": "Clients that are written to through the event loop: they hold unsent bytes or catch up.",
    "unsent_bytes": "Data that clients have not taken yet.",
    "listening": "1 while the hub hears the database.",
    "head": "The seq of the newest event that was heard.",
}
COUNTERS = {
    "deliveries": "Events handed to live subscriptions, times subscriptions.",
    "broadcasts": "Turns of the event loop in which events were written out.",
    "notes_written": "Notes that clients published and the database has.",
    "write_batches": "Statements that wrote them.",
    "log_reads": "Queries for clients that the ring could not serve.",
    "log_gaps": "Times that the log was read because a notification did not follow.",
    "rows_not_understood": "Times that a row of table note was read that is no note, as one with a NULL body.",
    "listener_reconnects": "Times that the listening connection was lost.",
}


def counts(context: Context) -> Counts:
    """What this process counts, as it stands now."""
    ways = Counter(way_of(each.outgoing) for each in context.broadcaster.everyone)
    return {
        "connections": len(context.connections),
        "subscribers_catching_up": sum(not each.live for each in context.broadcaster.everyone),
        **{f"clients_{way}": ways[way] for way in WAYS},
        "unsent_bytes": sum(each.unsent for each in context.connections),
        "listening": int(context.listener.ready.is_set()),
        "head": context.broadcaster.head,
        "deliveries": context.broadcaster.deliveries,
        "broadcasts": context.broadcaster.flushes,
        "notes_written": context.writer.written,
        "write_batches": context.writer.batches,
        "log_reads": context.shared_reads.reads,
        "log_gaps": context.listener.gaps,
        "rows_not_understood": context.store.strange.times,
        "listener_reconnects": context.listener.reconnects,
    }


@contextlib.asynccontextmanager
async def alone(own: Callable[[], Counts]) -> AsyncIterator[Counting]:
    """Count for a hub that is one process."""

    async def counting() -> Mapping[str, Counts]:
        return {"": own()}

    yield counting


class _Families(Collector):
    """The counts of several workers by their names; of one alone, without a name."""

    def __init__(self, workers: Mapping[str, Counts]) -> None:
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        """Every metric with a series for each worker."""
        for kind, texts in ((GaugeMetricFamily, GAUGES), (CounterMetricFamily, COUNTERS)):
            for name, text in texts.items():
                family = kind(f"hub_{name}", text, labels=["worker"] if any(self._workers) else [])
                for worker, counted in sorted(self._workers.items()):
                    if name in counted:  # a worker may still run the release before
                        family.add_metric([worker] if worker else [], counted[name])
                yield family


def page(workers: Mapping[str, Counts]) -> bytes:
    """The text that ``/metrics`` answers."""
    return generate_latest(_Families(workers))
