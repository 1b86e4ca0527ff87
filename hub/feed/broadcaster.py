"""Hands each event to everyone who follows its topic.

Owns the head (the newest seq that was heard), the ring of recent events, and the live subscriptions by topic. It is
synchronous and never waits for a client. Events of one turn of the event loop are joined, encoded once for each wire
format, and written once to each client. A client that takes its data too slowly leaves the live set with its cursor and
catches up in pages (`subscription`).
"""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

from hub.delivery.fanout import Fanout
from hub.delivery.outgoing import Outgoing
from hub.feed.events import Event
from hub.feed.ring import Ring
from hub.protocol import ALL, Message
from hub.protocol.formats import Format

if TYPE_CHECKING:
    from asyncio import Future


# An event that comes so soon after a flush came while the flush was in progress: there are more events than can be sent
# one by one. Then the broadcaster rests for as long as the flush took, and joins what comes meanwhile. That leaves half
# of a core free, and no event waits longer than one flush takes. A lone event never waits.
WAITED = 0.0001  # seconds
LONGEST_REST = 0.02  # seconds


class Subscriber(Protocol):
    """What the broadcaster needs of a subscription."""

    format: Format
    live: bool
    outgoing: Outgoing

    @property
    def topics(self) -> frozenset[str]:
        """The topics that it follows."""

    def reset(self, seq: int, reason: str) -> None:
        """Go on from `seq`, a position of another log."""

    def tell(self, message: Message) -> None:
        """Write a message that concerns the connection and not a topic."""

    def fell_behind(self, cursor: int) -> None:
        """Catch up: it was taken out of the live set, and everything up to `cursor` was written to it."""


class Audience:
    """The live subscriptions that get the same bytes: one format, one set of topics."""

    __slots__ = ("fanout", "format", "parts", "subscribers", "topics")

    def __init__(self, format: Format, topics: frozenset[str], fanout: Fanout) -> None:
        self.format = format
        self.topics = topics
        self.fanout = fanout
        self.subscribers: dict[Outgoing, Subscriber] = {}
        self.parts: list[bytes] = []

    def write(self) -> Iterator[Subscriber]:
        """Write the parts, joined, to all clients; yield the subscriptions that are too slow now."""
        data = self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
        self.parts.clear()
        return (self.subscribers[outgoing] for outgoing in self.fanout.write(data))


class Broadcaster:
    """The live subscriptions, and the events for them.

    `schedule` runs a function at the end of this turn of the event loop, `later` runs one after so many seconds, and
    `new_fanout` makes an empty fan-out.
    """

    def __init__(
        self,
        schedule: Callable[[Callable[[], None]], object],
        later: Callable[[float, Callable[[], None]], object],
        ring_bytes: int,
        clock: Callable[[], float] = time.perf_counter,
        new_fanout: Callable[[], Fanout] = Fanout,
    ) -> None:
        self.head = 0
        self.flushes = self.deliveries = 0
        self._schedule = schedule
        self._later = later
        self._clock = clock
        self._new_fanout = new_fanout
        self._flushed = self._took = 0.0  # when the last flush ended, and how long it took
        self._pending: list[Event] = []
        self._audiences: dict[tuple[Format, frozenset[str]], Audience] = {}
        self._by_topic: dict[str | None, set[Audience]] = {}  # None: all; `*` may be the topic of a note, too
        self._waiting: list[tuple[int, Future[None]]] = []
        self.everyone: set[Subscriber] = set()  # live or catching up
        self._ring = Ring(ring_bytes)

    def start_at(self, seq: int) -> None:
        """Begin at a position. What came before is in the log only."""
        self.flush()
        self.head = seq
        self._ring.clear(seq)
        self._wake(everyone=True)

    def start_afresh(self, seq: int, reason: str) -> None:
        """Begin at a position of another log, in which no cursor of before means anything."""
        self.start_at(seq)
        for subscriber in tuple(self.everyone):
            subscriber.reset(seq, reason)

    def tell_everyone(self, message: Message) -> None:
        """Write a message to every subscription, live or not."""
        for subscriber in tuple(self.everyone):
            subscriber.tell(message)

    def publish(self, event: Event) -> None:
        """Append an event whose seq is above the head. It is written at the end of this turn, or of a rest."""
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
        """Write what was published since the last flush."""
        events, self._pending = self._pending, []
        if not events:
            return
        start = self._clock()
        touched: dict[Audience, None] = {}
        everyone = self._by_topic.get(None, ())
        for event in events:
            for audience in self._concerned(event, everyone):
                if data := event.encoded(audience.format):
                    audience.parts.append(data)
                    touched[audience] = None
        slow: list[Subscriber] = []
        for audience in touched:
            slow += audience.write()
            self.deliveries += len(audience.fanout)
        self.flushes += 1
        for subscriber in slow:
            self.leave(subscriber)
            subscriber.fell_behind(events[-1].seq)
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
        """Make a subscription live. It has everything up to the head."""
        self.flush()
        key = (subscriber.format, subscriber.topics)
        audience = self._audiences.get(key)
        if audience is None:
            audience = self._audiences[key] = Audience(*key, self._new_fanout())
            for topic in _keys(audience):
                self._by_topic.setdefault(topic, set()).add(audience)
        audience.subscribers[subscriber.outgoing] = subscriber
        audience.fanout.add(subscriber.outgoing)

    def leave(self, subscriber: Subscriber) -> None:
        """Take a subscription out of the live set, if it is there."""
        key = (subscriber.format, subscriber.topics)
        audience = self._audiences.get(key)
        if audience is None:
            return
        audience.subscribers.pop(subscriber.outgoing, None)
        audience.fanout.discard(subscriber.outgoing)
        if not audience.subscribers:
            del self._audiences[key]
            for topic in _keys(audience):
                self._by_topic[topic].discard(audience)
                if not self._by_topic[topic]:
                    del self._by_topic[topic]

    def since(self, cursor: int) -> list[Event] | None:
        """Events after a cursor, at most a page; None where the ring does not reach back that far."""
        return self._ring.since(cursor)

    def knows(self, seq: int) -> bool:
        """Whether the ring holds an event with exactly this seq."""
        return seq == self.head or self._ring.holds(seq)

    def reached(self, seq: int, waiter: "Future[None]") -> None:
        """Complete the future once the head is at `seq` or past it, or has begun afresh."""
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


def _keys(audience: Audience) -> Iterable[str | None]:
    return (None if topic == ALL else topic for topic in audience.topics)
