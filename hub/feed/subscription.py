"""One client's subscription: live, or catching up.

Owns the way from any cursor to live: pages from the broadcaster's ring, or from the log where the ring does not reach
back far enough, written only as fast as the client takes them. It holds no events, so a slow client costs its unsent
bytes and one page.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from hub.backoff import backoff
from hub.delivery.outgoing import Outgoing
from hub.errors import Unavailable
from hub.feed.broadcaster import Broadcaster
from hub.feed.cursor import Cursor, Start
from hub.feed.events import Event
from hub.feed.shared_reads import SharedReads
from hub.protocol import ALL, CaughtUp, Message, Reset
from hub.protocol.formats import Format

log = structlog.get_logger()

UNKNOWN_CURSOR = "the cursor is not a position of this log"


class Subscription:
    """A subscriber of the broadcaster. `spawn` runs a coroutine as a task that somebody owns."""

    PAGE = 500  # events read at once

    def __init__(
        self,
        outgoing: Outgoing,
        format: Format,
        broadcaster: Broadcaster,
        reads: SharedReads,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self.outgoing = outgoing
        self.format = format
        self.live = False
        self._cursor = Cursor()
        self._broadcaster = broadcaster
        self._reads = reads
        self._spawn = spawn
        self._announce = self._running = self._closed = False

    @property
    def topics(self) -> frozenset[str]:
        """The topics that it follows."""
        return self._cursor.topics

    # Called by sessions and streams.

    def open(self, topics: frozenset[str], after: int | None, last: int | None) -> None:
        """Begin after a cursor, or with the newest `last` items, or (neither) with what comes next."""
        self._cursor.topics, self._cursor.seq = topics, self._broadcaster.head
        self._broadcaster.everyone.add(self)
        if after is None and last is None:
            self._go_live()
        else:
            self._cursor.starts.append(Start(None, after, last))
            self._begin()

    def add(self, topic: str, after: int | None) -> None:
        """Follow one more topic, from now on or after a cursor."""
        if after is None and topic in self.topics:
            return  # it may be owed events of this topic, which must not be skipped
        self._pause()
        self._cursor.add(topic, after, self._broadcaster.head)
        if after is None:
            self._resume()
        else:
            self._begin()

    def remove(self, topic: str) -> None:
        """Stop following a topic."""
        self._pause()
        self._cursor.remove(topic)
        self._resume()

    def close(self) -> None:
        """Write nothing more."""
        self._closed = True
        self.live = False
        self._broadcaster.leave(self)
        self._broadcaster.everyone.discard(self)

    def tell(self, message: Message, position: int | None = None) -> None:
        """Write a message that is no event; `position` is the client's cursor with it, if it has one."""
        if data := self.format(message, position):
            self.outgoing.write(data)

    # Called by the broadcaster.

    def fell_behind(self, cursor: int) -> None:
        """Catch up from a cursor: the client is too slow to stay live."""
        self.live, self._cursor.seq = False, cursor
        self._run()

    def reset(self, seq: int, reason: str) -> None:
        """Go on from a position of another log."""
        self.tell(Reset(seq, reason), seq)
        self._cursor.reset(seq)

    # The way to live.

    @property
    def _is_over(self) -> bool:
        return self._closed or self.outgoing.closed or self.outgoing.gone

    def _pause(self) -> None:
        self._cursor.changes += 1
        self._broadcaster.flush()
        if self.live:
            self._broadcaster.leave(self)
            self.live = False
            self._cursor.stop(self._broadcaster.head)

    def _resume(self) -> None:
        if self._running or self._closed:
            return
        if self._cursor.seq == self._broadcaster.head:
            self._go_live()
        else:
            self._run()

    def _go_live(self) -> None:
        self._cursor.go_live()
        self._broadcaster.join(self)
        self.live = True
        if self._announce:
            self._announce = False
            self.tell(CaughtUp(self._cursor.seq), self._cursor.seq)

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
            while not self._is_over and not self.live:
                try:
                    await self._step()
                    delays = backoff()
                except Unavailable as error:
                    log.warning("catch_up_waits", reason=str(error))
                    await asyncio.sleep(next(delays))
        except Exception:
            # A client without its stream must not stay connected as if it had one.
            log.error("catch_up_failed", cursor=self._cursor.seq, exc_info=True)
            self.outgoing.abort()
        finally:
            self._running = False

    async def _step(self) -> None:
        cursor = self._cursor
        if cursor.starts:
            if await self._started(cursor.starts[0]):
                cursor.starts.pop(0)
        elif self.outgoing.unsent > self.outgoing.high_water // 4:
            await self.outgoing.drained(self.outgoing.high_water // 4)
        elif cursor.furthest > self._broadcaster.head:
            # The log, or a client of another hub, knows more than this hub has heard so far.
            waiter = asyncio.get_running_loop().create_future()
            self._broadcaster.reached(cursor.furthest, waiter)
            await waiter
        else:
            await self._reads.turn()
            # A start that was added meanwhile takes the cursor back: what is new now comes again behind it, not before.
            if not self._is_over and not cursor.starts:
                await self._page()

    async def _started(self, start: Start) -> bool:
        """Move to where a start says; False when topics changed meanwhile, so that it must be looked at again."""
        changes = self._cursor.changes
        items: tuple[Message, ...] = ()
        resumable = start.after is not None and await self._resumable(start.after)
        cursor = start.after if start.after is not None and resumable else self._broadcaster.head
        if start.last is not None and not resumable:
            found, cursor = await self._reads.snapshot(self._wanted(self.topics), start.last)
            items = tuple(found)
        if self._cursor.changes != changes or self._is_over:
            return False
        if start.after is not None and not resumable:
            has_snapshot = start.last is not None
            reset = Reset(cursor, UNKNOWN_CURSOR, start.topic, has_snapshot)
            self.tell(reset, None if has_snapshot else cursor)
        for item in items:
            self.tell(item)
        self._cursor.begin(start.topic, cursor)
        return True

    async def _resumable(self, cursor: int) -> bool:
        return self._broadcaster.knows(cursor) or await self._reads.holds(cursor)

    async def _page(self) -> None:
        """Write the next events after the cursor, and go live if those were all."""
        cursor = self._cursor
        after, head, changes = cursor.seq, self._broadcaster.head, cursor.changes
        until, topics = cursor.owed(head)
        events = self._broadcaster.since(after)
        if events is not None:
            end = events[-1].seq if events else head
        else:
            events = await self._reads.events(after, until, self._wanted(topics), self.PAGE) if topics else []
            end = events[-1].seq if len(events) == self.PAGE else until
        if self._is_over or cursor.changes != changes:
            return  # while the log was read: look again
        end = min(end, until)
        cursor.passed(end)
        wanted = (event for event in events if event.seq <= end and cursor.concerns(event, topics))
        if data := b"".join(self._encoded(event, topics) for event in wanted):
            self.outgoing.write(data)
        if end == self._broadcaster.head and not self.outgoing.is_slow and not cursor.starts:
            self._go_live()

    def _encoded(self, event: Event, topics: frozenset[str]) -> bytes:
        # While only some topics catch up, what the client holds of the others is newer than a reset on the way.
        if type(event.message) is Reset and topics != self.topics:
            return b"".join(self.format(Reset(event.seq, event.message.reason, topic)) for topic in sorted(topics))
        return event.encoded(self.format)

    @staticmethod
    def _wanted(topics: frozenset[str]) -> list[str] | None:
        return None if ALL in topics else sorted(topics)
