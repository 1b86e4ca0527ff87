"""Shared reads: the log as it is read by clients that catch up.

Owns no data, only who waits for which read. A thousand clients that come back with the same cursor cause one query, and
a thousand different ones never take all connections to the log.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Sequence
from typing import Any, TypeVar

from hub.feed.events import Event
from hub.feed.ports import Log
from hub.protocol import Message

PARALLEL = 2  # reads at a time; the pool of the log has more connections than that
PAGES_PER_TURN = 64  # pages written in one turn of the event loop: some ten milliseconds, like an event to thousands

T = TypeVar("T")


class SharedReads:
    """A Log over another one. `spawn` runs a read as a task that outlives the client that asked first."""

    def __init__(self, log: Log, spawn: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        self.reads = 0
        self._log = log
        self._spawn = spawn
        self._gate = asyncio.Semaphore(PARALLEL)
        self._turns = asyncio.Semaphore(PAGES_PER_TURN)
        self._flying: dict[Hashable, asyncio.Future[Any]] = {}

    async def events(self, after: int, until: int | None, topics: Sequence[str] | None, limit: int) -> list[Event]:
        """As Log.events."""
        key = ("events", after, until, None if topics is None else tuple(topics), limit)
        return await self._once(key, lambda: self._log.events(after, until, topics, limit))

    async def holds(self, seq: int) -> bool:
        """As Log.holds."""
        return await self._once(("holds", seq), lambda: self._log.holds(seq))

    async def snapshot(self, topics: Sequence[str] | None, last: int) -> tuple[Sequence[Message], int]:
        """As Log.snapshot."""
        key = ("snapshot", None if topics is None else tuple(topics), last)
        return await self._once(key, lambda: self._log.snapshot(topics, last))

    async def turn(self) -> None:
        """Wait for a turn of the event loop in which few other clients write a page: live events must not wait."""
        async with self._turns:
            await asyncio.sleep(0)

    async def _once(self, key: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        """The answer of the read that is in progress for this key, or of a new one."""
        answer: asyncio.Future[T] | None = self._flying.get(key)
        if answer is None:
            answer = self._flying[key] = asyncio.get_running_loop().create_future()
            self._spawn(self._read(key, read, answer))
        return await asyncio.shield(answer)

    async def _read(self, key: Hashable, read: Callable[[], Awaitable[T]], answer: "asyncio.Future[T]") -> None:
        try:
            async with self._gate:
                self.reads += 1
                answer.set_result(await read())
        except asyncio.CancelledError:
            answer.cancel()
            raise
        except Exception as error:
            answer.set_exception(error)
            answer.exception()  # retrieved, even if every client that waited is gone
        finally:
            del self._flying[key]
