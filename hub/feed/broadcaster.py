"""Hands each event to everyone who follows its topic.

Owns the newest position (`head`), the ring of recent events and the live subscriptions by topic. It
is synchronous and never waits for a client: events of one turn of the event loop are joined,
encoded once per wire format, and written once per client. A client that takes its data too slowly
leaves the live set with its cursor and is paged elsewhere (`subscription`). It knows no socket
library and no database.
"""

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from hub.delivery.fanout import Crowd, Member
from hub.delivery.io_uring import Uring
from hub.feed.events import Event, Ring
from hub.protocol import ALL, Message
from hub.protocol.formats import Format

if TYPE_CHECKING:
    from asyncio import Future


# A note that is heard so soon after a flush came while that was under way: there is more than can be sent
# one by one. Then the hub rests as long as the flush took, and what comes meanwhile is joined: it
# leaves half of a core free, and nobody waits longer than one flush takes. A lone note never waits.
WAITED = 0.0001  # seconds
LONGEST_REST = 0.02  # seconds


class Subscriber(Member, Protocol):
    """What the broadcaster needs of a live subscription."""

    format: Format
    live: bool

    @property
    def topics(self) -> frozenset[str]:
        """What it follows."""

    def reset(self, seq: int, reason: str) -> None:
        """The log is another one now; what is current follows `seq`."""

    def tell(self, message: Message) -> None:
        """Write what concerns the connection and not a topic."""

    def fell_behind(self, cursor: int) -> None:
        """It was taken out of the live set; everything up to `cursor` was written to it."""


class Audience:
    """The live subscriptions that get the very same bytes: one format, one set of topics."""

    __slots__ = ("format", "members", "parts", "topics")

    def __init__(self, format: Format, topics: frozenset[str], uring: Uring | None) -> None:
        self.format = format
        self.topics = topics
        self.members: Crowd[Subscriber] = Crowd(uring)
        self.parts: list[bytes] = []


class Broadcaster:
    """The live half of the hub.

    `schedule` runs a function at the end of this turn of the loop, `later` after so many seconds.
    """

    def __init__(
        self,
        schedule: Callable[[Callable[[], None]], object],
        later: Callable[[float, Callable[[], None]], object],
        ring_bytes: int,
        clock: Callable[[], float] = time.perf_counter,
        uring: Uring | None = None,
    ) -> None:
        self.head = 0
        self.flushes = self.deliveries = 0
        self._schedule = schedule
        self._later = later
        self._clock = clock
        self._uring = uring
        self._flushed = self._took = 0.0  # when the last flush ended, and how long it took
        self._pending: list[Event] = []
        self._audiences: dict[tuple[Format, frozenset[str]], Audience] = {}
        self._by_topic: dict[str, set[Audience]] = {}
        self._waiting: list[tuple[int, Future[None]]] = []
        self.everyone: set[Subscriber] = set()  # live or catching up
        self._ring = Ring(ring_bytes)

    def start_at(self, seq: int) -> None:
        """Begin at a position: what came before is the log's to tell."""
        self.flush()
        self.head = seq
        self._ring.clear(seq)
        self._wake(everyone=True)

    def start_afresh(self, seq: int, reason: str) -> None:
        """Begin at a position of another log: everyone's cursor is void."""
        self.start_at(seq)
        for subscriber in tuple(self.everyone):
            subscriber.reset(seq, reason)

    def tell_everyone(self, message: Message) -> None:
        """Write a message to every subscription, live or not."""
        for subscriber in tuple(self.everyone):
            subscriber.tell(message)

    def publish(self, event: Event) -> None:
        """Append an event; its seq is above head. It is written out at the end of the turn, or of a rest."""
        self.head = event.seq
        self._ring.append(event)
        if not self._pending:
            since = self._clock() - self._flushed
            rest = min(self._took, LONGEST_REST) - since
            if since < WAITED and rest > 0:
                self._later(rest, self.flush)
            else:
                self._schedule(self.flush)
        self._pending.append(event)

    def flush(self) -> None:
        """Write out what was published since the last flush."""
        events, self._pending = self._pending, []
        if not events:
            return
        start = self._clock()
        touched: dict[Audience, None] = {}
        everyone = self._by_topic.get(ALL, ())
        for event in events:
            for audience in self._concerned(event, everyone):
                if data := event.encoded(audience.format):
                    audience.parts.append(data)
                    touched[audience] = None
        slow: list[Subscriber] = []
        for audience in touched:
            data = audience.parts[0] if len(audience.parts) == 1 else b"".join(audience.parts)
            audience.parts.clear()
            slow += audience.members.write(data)
            self.deliveries += len(audience.members)
        self.flushes += 1
        for member in slow:
            self.leave(member)
            member.fell_behind(events[-1].seq)
        self._wake()
        self._flushed = self._clock()
        self._took = self._flushed - start

    def _concerned(self, event: Event, everyone: Iterable[Audience]) -> Iterable[Audience]:
        if event.topic is None:
            yield from self._audiences.values()
            return
        yield from self._by_topic.get(event.topic, ())
        yield from everyone

    def join(self, subscriber: Subscriber) -> None:
        """Make a subscription live from head on; it has everything up to there."""
        self.flush()
        key = (subscriber.format, subscriber.topics)
        audience = self._audiences.get(key)
        if audience is None:
            audience = self._audiences[key] = Audience(*key, self._uring)
            for topic in audience.topics:
                self._by_topic.setdefault(topic, set()).add(audience)
        audience.members.add(subscriber)

    def leave(self, subscriber: Subscriber) -> None:
        """Take a subscription out of the live set, if it is there; nothing more is written to it."""
        key = (subscriber.format, subscriber.topics)
        audience = self._audiences.get(key)
        if audience is None:
            return
        audience.members.discard(subscriber)
        if not len(audience.members):
            del self._audiences[key]
            for topic in audience.topics:
                self._by_topic[topic].discard(audience)
                if not self._by_topic[topic]:
                    del self._by_topic[topic]

    def hold(self, subscriber: Subscriber) -> None:
        """A live subscription's client holds bytes that are still unsent: what comes must wait behind them."""
        self._audiences[subscriber.format, subscriber.topics].members.hold(subscriber)

    def since(self, cursor: int) -> list[Event] | None:
        """Events after a cursor up to head, at most a page; None where the ring does not reach back so far."""
        return self._ring.since(cursor)

    def knows(self, seq: int) -> bool:
        """Whether the ring shows that this very seq was an event."""
        return seq == self.head or self._ring.holds(seq)

    def reached(self, seq: int, waiter: "Future[None]") -> None:
        """Complete the future once head is at `seq` or past it, or has begun afresh."""
        self._waiting.append((seq, waiter))
        self._wake()

    def _wake(self, everyone: bool = False) -> None:
        waiting, self._waiting = self._waiting, []
        for seq, waiter in waiting:
            if waiter.done():
                continue
            if everyone or seq <= self.head:
                waiter.set_result(None)
            else:
                self._waiting.append((seq, waiter))
