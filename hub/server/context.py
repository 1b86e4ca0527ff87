"""The parts of a running hub, as sessions and routes use them.

Owns nothing: `app` makes the parts and puts them in here.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from hub import __version__
from hub.delivery.outgoing import Connection
from hub.feed.broadcaster import Broadcaster
from hub.feed.shared_reads import Replay
from hub.feed.subscription import Subscription
from hub.feed.writer import Writer
from hub.postgres.listener import Listener
from hub.postgres.store import Store
from hub.protocol import MAX_LENGTH, MAX_PAGE, PROTOCOL, Limits, Welcome
from hub.protocol.formats import Format
from hub.settings import Settings


@dataclass
class Hub:
    """The parts that every request uses."""

    settings: Settings
    store: Store
    broadcaster: Broadcaster
    listener: Listener
    writer: Writer
    replay: Replay
    spawn: Callable[[Coroutine[Any, Any, None]], object]
    connections: set[Connection] = field(default_factory=set)
    closing: bool = False

    def welcome(self, topics: frozenset[str]) -> Welcome:
        """The first message to a client."""
        limits = Limits(
            self.settings.max_frame, MAX_LENGTH, self.settings.max_topics, MAX_PAGE, self.settings.ping_interval
        )
        return Welcome(PROTOCOL, __version__, self.broadcaster.head, sorted(topics), limits)

    def subscription(self, connection: Connection, format: Format) -> Subscription:
        """A subscription that writes to a connection; it follows nothing yet."""
        return Subscription(connection, format, self.broadcaster, self.replay, self.spawn, self.settings.high_water)
