"""One client's place in the stream: live, or catching up.

Owns the way from any `place` in the log to live: pages from the broadcaster's ring, or from the log where that
does not reach back far enough, written only as fast as the client takes them. It holds no events of its own,
so a slow client costs its send buffer and one page. It knows neither the socket library nor the database.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

import structlog

from hub.backoff import backoff
from hub.delivery.outgoing import Connection
from hub.errors import Unavailable
from hub.feed.broadcaster import Broadcaster
from hub.feed.cursor import Place, Start
from hub.feed.events import Event
from hub.protocol import ALL, CaughtUp, Message, Note, Reset
from hub.protocol.formats import Format

log = structlog.get_logger()

UNKNOWN_CURSOR = "the cursor is not a position of this log"
DRAIN_POLL = 0.02  # seconds between looks at a full send buffer; asyncio tells only the transport's protocol


class Log(Protocol):
    """What is read of the database; each raises Unavailable while it can't be reached."""

    async def events(self, after: int, until: int, topics: Sequence[str] | None, limit: int) -> list[Event]:
        """The events with after < seq <= until of some topics (None: all), in order, at most `limit`."""

    async def holds(self, seq: int) -> bool:
        """Whether a cursor is a position of this log."""

    async def snapshot(self, topics: Sequence[str] | None, last: int) -> tuple[list[Note], int]:
        """The newest notes in the order of their creation, and the position at which they are current."""

    async def turn(self) -> None:
        """Wait until it is one's turn to write a page: a crowd that catches up must not hold up live notes."""


class Subscription:
    """A subscriber of the broadcaster. `spawn` runs a coroutine as a task that somebody owns."""

    PAGE = 500  # events read at once

    def __init__(
        self,
        sink: Connection,
        format: Format,
        broadcaster: Broadcaster,
        log: Log,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        high_water: int,
    ) -> None:
        self.format = format
        self.live = False
        self._place = Place()
        self._sink = sink
        self._sink.on_unsent = self._unsent
        self._sink.on_lost = self.close
        self._broadcaster = broadcaster
        self._log = log
        self._spawn = spawn
        self._high_water = high_water
        self._announce = self._running = self._closed = False

    @property
    def topics(self) -> frozenset[str]:
        """What it follows."""
        return self._place.topics

    # What the session asks for.

    def open(self, topics: frozenset[str], after: int | None, last: int | None) -> None:
        """Begin: after a cursor, or with the newest `last` notes, or (neither) with what comes next."""
        self._place.topics, self._place.cursor = topics, self._broadcaster.head
        self._broadcaster.everyone.add(self)
        if after is None and last is None:
            self._go_live()
        else:
            self._place.starts.append(Start(None, after, last))
            self._begin()

    def add(self, topic: str, after: int | None) -> None:
        """Follow one more topic from now on, or from a cursor."""
        if after is None and topic in self.topics:
            return  # what it is still owed of it must not be skipped
        self._pause()
        self._place.add(topic, after, self._broadcaster.head)
        if after is None:
            self._resume()
        else:
            self._begin()

    def remove(self, topic: str) -> None:
        """Follow a topic no more."""
        self._pause()
        self._place.remove(topic)
        self._resume()

    def close(self) -> None:
        """Write nothing more, ever."""
        self._closed = True
        self.live = False
        self._broadcaster.leave(self)
        self._broadcaster.everyone.discard(self)

    # What the broadcaster asks for.

    def direct(self) -> int | None:
        """The file to write to past all layers, while nothing is unsent."""
        return self._sink.direct()

    def write(self, data: bytes) -> bool:
        """Take bytes; False when the client is too far behind to stay live."""
        return self._sink.write(data) <= self._high_water

    def tell(self, message: Message, position: int | None = None) -> None:
        """Write a message that is not of the events; `position` is the client's cursor with it, if it has one."""
        if data := self.format(message, position):
            self._sink.write(data)

    def fell_behind(self, cursor: int) -> None:
        """Leave the live set with what was written so far."""
        self.live, self._place.cursor = False, cursor
        self._run()

    def reset(self, seq: int, reason: str) -> None:
        """Go on from a position of another log."""
        self.tell(Reset(seq, reason), seq)
        self._place.reset(seq)

    def _unsent(self) -> None:
        if self.live:
            self._broadcaster.hold(self)

    # The way to live.

    def _pause(self) -> None:
        self._place.changes += 1
        self._broadcaster.flush()
        if self.live:
            self._broadcaster.leave(self)
            self.live = False
            self._place.stop(self._broadcaster.head)

    def _resume(self) -> None:
        if self._running or self._closed:
            return
        if self._place.cursor == self._broadcaster.head:
            self._go_live()
        else:
            self._run()

    def _go_live(self) -> None:
        self._place.live()
        self._broadcaster.join(self)
        self.live = True
        if self._announce:
            self._announce = False
            self.tell(CaughtUp(self._place.cursor), self._place.cursor)

    def _begin(self) -> None:
        self._announce = True
        self._run()

    def _run(self) -> None:
        if not self._running and not self._closed:
            self._running = True
            self._spawn(self._catch_up())

    async def _catch_up(self) -> None:
        delays = backoff()
        try:
            while not self._closed and not self.live:
                try:
                    await self._step()
                    delays = backoff()
                except Unavailable as error:
                    log.warning("catch_up_waits", reason=str(error))
                    await asyncio.sleep(next(delays))
        except Exception:
            # A client without its stream must not stay connected as if it had one.
            log.error("catch_up_failed", cursor=self._place.cursor, exc_info=True)
            self._sink.abort()
        finally:
            self._running = False

    async def _step(self) -> None:
        place = self._place
        if place.starts:
            if await self._started(place.starts[0]):
                place.starts.pop(0)
        elif self._sink.buffered() > self._high_water // 4:
            await asyncio.sleep(DRAIN_POLL)
        elif place.furthest > self._broadcaster.head:
            # The log, or another hub's client, knows more than this hub has heard so far.
            waiter = asyncio.get_running_loop().create_future()
            self._broadcaster.reached(place.furthest, waiter)
            await waiter
        else:
            await self._log.turn()
            if not self._closed:
                await self._page()

    async def _started(self, start: Start) -> bool:
        """Move to where a start says; False when topics changed meanwhile and it must be looked at again."""
        changes, notes = self._place.changes, list[Note]()
        resumable = start.after is not None and await self._resumable(start.after)
        cursor = start.after if start.after is not None and resumable else self._broadcaster.head
        if start.last is not None and not resumable:
            notes, cursor = await self._log.snapshot(self._wanted(self.topics), start.last)
        if self._place.changes != changes:
            return False
        if start.after is not None and not resumable:
            has_snapshot = start.last is not None
            reset = Reset(cursor, UNKNOWN_CURSOR, start.topic, has_snapshot)
            self.tell(reset, None if has_snapshot else cursor)
        for note in notes:
            self.tell(note)
        self._place.begin(start.topic, cursor)
        return True

    async def _resumable(self, cursor: int) -> bool:
        return self._broadcaster.knows(cursor) or await self._log.holds(cursor)

    async def _page(self) -> None:
        """Write the next events after the cursor, and go live if that was all."""
        place = self._place
        cursor, head, changes = place.cursor, self._broadcaster.head, place.changes
        until, topics = place.owed(head)
        events = self._broadcaster.since(cursor)
        if events is not None:
            end = events[-1].seq if events else head
        else:
            events = await self._log.events(cursor, until, self._wanted(topics), self.PAGE) if topics else []
            end = events[-1].seq if len(events) == self.PAGE else until
        if self._closed or place.changes != changes:
            return  # while the log was read: look again
        end = min(end, until)
        place.passed(end)
        wanted = (event for event in events if event.seq <= end and place.concerns(event, topics))
        data = b"".join(self._encoded(event, topics) for event in wanted)
        fits = self.write(data) if data else True
        if end == self._broadcaster.head and fits and not place.starts:
            self._go_live()

    def _encoded(self, event: Event, topics: frozenset[str]) -> bytes:
        # While only some topics catch up, what others hold is newer than a reset that these now pass.
        if type(event.message) is Reset and topics != self.topics:
            return b"".join(self.format(Reset(event.seq, event.message.reason, topic)) for topic in sorted(topics))
        return event.encoded(self.format)

    @staticmethod
    def _wanted(topics: frozenset[str]) -> list[str] | None:
        return None if ALL in topics else sorted(topics)
