"""The log as those read it who catch up: shared, a few reads at a time, counted.

Owns no data. A thousand clients that come back with the same cursor are one question to Postgres,
and a thousand different ones never take all of its connections from those who publish.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Sequence
from typing import Any, TypeVar

from hub.feed.events import Event
from hub.postgres.store import Store
from hub.protocol import Note

PARALLEL = 2  # reads at a time; the pool has more connections than that

PAGES_PER_TURN = 64  # of the event loop; some ten milliseconds, about what live notes to thousands take

T = TypeVar("T")


class Replay:
    """The store's reads of the log; `spawn` runs a read as a task that outlives the client that asked first."""

    def __init__(self, store: Store, spawn: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        self.reads = 0
        self._store = store
        self._spawn = spawn
        self._gate = asyncio.Semaphore(PARALLEL)
        self._turns = asyncio.Semaphore(PAGES_PER_TURN)
        self._flying: dict[Hashable, asyncio.Future[Any]] = {}

    async def events(self, after: int, until: int, topics: Sequence[str] | None, limit: int) -> list[Event]:
        """As Store.events."""
        key = ("events", after, until, None if topics is None else tuple(topics), limit)
        return await self._once(key, lambda: self._store.events(after, until, topics, limit))

    async def holds(self, seq: int) -> bool:
        """As Store.holds."""
        return await self._once(("holds", seq), lambda: self._store.holds(seq))

    async def snapshot(self, topics: Sequence[str] | None, last: int) -> tuple[list[Note], int]:
        """The newest `last` notes, as Store.notes."""
        key = ("snapshot", None if topics is None else tuple(topics), last)
        return await self._once(key, lambda: self._store.notes(topics, last))

    async def turn(self) -> None:
        """Wait for a turn of the event loop in which few others write a page."""
        async with self._turns:
            await asyncio.sleep(0)

    async def _once(self, key: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        """The answer of the read that is under way for this key, or of a new one."""
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
            answer.exception()  # seen, even if every client that waited is gone
        finally:
            del self._flying[key]
