"""The context: the parts of a running hub, as sessions and routes use them.

Owns nothing. `app` makes the parts and puts them in here.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from hub import __version__
from hub.delivery.outgoing import Outgoing
from hub.feed.broadcaster import Broadcaster
from hub.feed.ports import EventSource
from hub.feed.shared_reads import SharedReads
from hub.feed.subscription import Subscription
from hub.feed.writer import Writer
from hub.postgres.store import Store
from hub.protocol import MAX_LENGTH, MAX_PAGE, PROTOCOL, Limits, Welcome
from hub.protocol.formats import Format
from hub.settings import Settings


@dataclass
class Context:
    """The parts that every request uses."""

    settings: Settings
    store: Store
    reserved: Store  # one connection, for the listener's reads and /readyz: nothing that clients ask is before them
    broadcaster: Broadcaster
    listener: EventSource
    writer: Writer
    shared_reads: SharedReads
    spawn: Callable[[Coroutine[Any, Any, None]], object]
    connections: set[Outgoing] = field(default_factory=set)
    closing: bool = False  # the hub is stopping

    def welcome(self, topics: frozenset[str]) -> Welcome:
        """The first message to a client."""
        limits = Limits(
            self.settings.max_frame, MAX_LENGTH, self.settings.max_topics, MAX_PAGE, self.settings.ping_interval
        )
        return Welcome(PROTOCOL, __version__, self.broadcaster.head, sorted(topics), limits)

    def subscription(self, outgoing: Outgoing, format: Format) -> Subscription:
        """A subscription that writes to a client; it follows nothing yet."""
        return Subscription(outgoing, format, self.broadcaster, self.shared_reads, self.spawn)


CONTEXT = web.AppKey("context", Context)
