"""One client's place in the stream: live, or catching up.

Owns the cursor and the topics of a subscription and the way from any cursor to live: pages from the
broadcaster's ring, or from the log where that does not reach back far enough, written only as fast
as the client takes them. It holds no events of its own, so a slow client costs its send
buffer and one page. It knows neither the socket library nor the database.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple, Protocol

import structlog

from hub.broadcaster import Broadcaster, Event
from hub.protocol import ALL, CaughtUp, Message, Note, Reset
from hub.store import Unavailable, backoff
from hub.wire import Format

log = structlog.get_logger()

DRAIN_POLL = 0.02  # seconds between looks at a full send buffer; asyncio tells only the transport's protocol


class Sink(Protocol):
    """Where the bytes go."""

    def write(self, data: bytes) -> None:
        """Take bytes at once, never wait."""

    def buffered(self) -> int:
        """Bytes taken and not yet accepted by the kernel."""

    def abort(self) -> None:
        """Drop the client; it may come back with its cursor."""


class Log(Protocol):
    """What is read of the database; each raises Unavailable while it can't be reached."""

    async def events(self, after: int, until: int, topics: Sequence[str] | None, limit: int) -> list[Event]:
        """The events with after < seq <= until of some topics (None: all), in order, at most `limit`."""

    async def holds(self, seq: int) -> bool:
        """Whether a cursor is a position of this log."""

    async def snapshot(self, topics: Sequence[str] | None, last: int) -> tuple[list[Note], int]:
        """The newest notes in the order of their creation, and the position at which they are current."""


class Start(NamedTuple):
    """A way into the stream: of one topic, or (None) of the subscription as a whole."""

    topic: str | None
    after: int | None
    last: int | None


class Subscription:
    """A subscriber of the broadcaster. `spawn` runs a coroutine as a task that somebody owns."""

    PAGE = 500  # events read at once

    def __init__(
        self,
        sink: Sink,
        format: Format,
        broadcaster: Broadcaster,
        log: Log,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        high_water: int,
    ) -> None:
        self.format = format
        self.topics: frozenset[str] = frozenset()
        self.live = False
        self.cursor = 0
        self._sink = sink
        self._broadcaster = broadcaster
        self._log = log
        self._spawn = spawn
        self._high_water = high_water
        self._skip: dict[str, int] = {}  # topic → events up to this seq were written already, or not asked for
        self._starts: list[Start] = []
        self._changes = 0  # how often topics or cursor were set anew; a page read before that is void
        self._announce = self._running = self._closed = False

    # What the session asks for.

    def open(self, topics: frozenset[str], after: int | None, last: int | None) -> None:
        """Begin: after a cursor, or with the newest `last` notes, or (neither) with what comes next."""
        self.topics = topics
        self._broadcaster.everyone.add(self)
        self.cursor = self._broadcaster.head
        if after is None and last is None:
            self._go_live()
        else:
            self._start(Start(None, after, last))

    def add(self, topic: str, after: int | None) -> None:
        """Follow one more topic from now on, or from a cursor."""
        if after is None and topic in self.topics:
            return  # what it is still owed of it must not be skipped
        self._pause()
        if topic == ALL and after is not None:
            self.topics, self._skip = frozenset(), {}
        self.topics |= {topic}
        self._skip[topic] = self._broadcaster.head
        if after is None:
            self._resume()
        else:
            self._start(Start(topic, after, None))

    def remove(self, topic: str) -> None:
        """Follow a topic no more."""
        self._pause()
        self.topics = frozenset() if topic == ALL else self.topics - {topic}
        self._skip.pop(topic, None)
        self._resume()

    def close(self) -> None:
        """Write nothing more, ever."""
        self._closed = True
        self._broadcaster.leave(self)
        self._broadcaster.everyone.discard(self)

    # What the broadcaster asks for.

    def write(self, data: bytes) -> bool:
        """Take bytes; False when the client is too far behind to stay live."""
        self._sink.write(data)
        return self._sink.buffered() <= self._high_water

    def tell(self, message: Message) -> None:
        """Write a message that has no place in the order of events."""
        if data := self.format(message):
            self._sink.write(data)

    def fell_behind(self, cursor: int) -> None:
        """Leave the live set with what was written so far."""
        self.live, self.cursor = False, cursor
        self._run()

    def reset(self, seq: int, reason: str) -> None:
        """Go on from a position of another log."""
        self.tell(Reset(seq, reason))
        self._changes += 1
        self.cursor = seq
        self._skip.clear()

    # The way to live.

    def _pause(self) -> None:
        self._changes += 1
        self._broadcaster.flush()
        if self.live:
            self._broadcaster.leave(self)
            self.live, self.cursor = False, self._broadcaster.head
            self._skip = dict.fromkeys(self.topics, self.cursor)

    def _resume(self) -> None:
        if self._running:
            return
        if self.cursor == self._broadcaster.head:
            self._go_live()
        else:
            self._run()

    def _go_live(self) -> None:
        if ALL in self.topics:
            self.topics = frozenset((ALL,))  # those it followed before were kept for what it was owed of them
        self._broadcaster.join(self)
        self.live = True
        self._skip.clear()
        if self._announce:
            self._announce = False
            self.tell(CaughtUp(self.cursor))

    def _start(self, start: Start) -> None:
        self._starts.append(start)
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
            log.error("catch_up_failed", cursor=self.cursor, exc_info=True)
            self._sink.abort()
        finally:
            self._running = False

    async def _step(self) -> None:
        if self._starts:
            await self._begin(self._starts[0])
            self._starts.pop(0)
        elif self._sink.buffered() > self._high_water // 4:
            await asyncio.sleep(DRAIN_POLL)
        elif (position := max((self.cursor, *self._skip.values()))) > self._broadcaster.head:
            # The log, or another hub's client, knows more than this hub has heard so far.
            waiter = asyncio.get_running_loop().create_future()
            self._broadcaster.reached(position, waiter)
            await waiter
        else:
            await self._page()

    async def _begin(self, start: Start) -> None:
        after, topic = start.after, start.topic
        if after is not None and not await self._resumable(after):
            self.tell(Reset(self._broadcaster.head, "the cursor is not a position of this log", topic))
            after = None
        if topic is not None:
            if after is not None:
                self._skip = {name: max(seq, self.cursor) for name, seq in self._skip.items()}
                self._skip.update({name: self.cursor for name in self.topics if name not in self._skip})
                self._skip[topic] = after
                self.cursor = min(self.cursor, after)
        elif after is not None:
            self.cursor = after
        elif start.last is None:
            self.cursor = self._broadcaster.head
        else:
            notes, self.cursor = await self._log.snapshot(self._wanted(self.topics), start.last)
            for note in notes:
                self.tell(note)

    async def _resumable(self, cursor: int) -> bool:
        return self._broadcaster.knows(cursor) or await self._log.holds(cursor)

    async def _page(self) -> None:
        """Write the next events after the cursor, and go live if that was all."""
        cursor, head, changes = self.cursor, self._broadcaster.head, self._changes
        until = min((seq for seq in self._skip.values() if seq > cursor), default=head)
        topics = frozenset(name for name in self.topics if self._skip.get(name, 0) <= cursor)
        events = self._broadcaster.since(cursor)
        if events is not None:
            end = events[-1].seq if events else head
        else:
            events = await self._log.events(cursor, until, self._wanted(topics), self.PAGE) if topics else []
            end = events[-1].seq if len(events) == self.PAGE else until
        if self._closed or self._changes != changes:
            return  # while the log was read: look again
        self.cursor = end = min(end, until)
        self._skip = {name: seq for name, seq in self._skip.items() if seq > end}
        wanted = (event for event in events if event.seq <= end and self._concerns(event, topics))
        data = b"".join(event.encoded(self.format) for event in wanted)
        fits = self.write(data) if data else True
        if end == self._broadcaster.head and fits and not self._starts:
            self._go_live()

    @staticmethod
    def _wanted(topics: frozenset[str]) -> list[str] | None:
        return None if ALL in topics else sorted(topics)

    @staticmethod
    def _concerns(event: Event, topics: frozenset[str]) -> bool:
        return event.topic is None or ALL in topics or event.topic in topics
