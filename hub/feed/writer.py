"""Gathers submitted notes and inserts them together.

Owns the queue between all who publish and the database. While one batch commits, the next one gathers: so batches grow
with the load, and a lone note waits for nothing. The answers come after the commit, in the order of the submissions.
A refused note never fails its neighbours.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

import structlog

from hub.errors import CommandError, Refused, Unavailable
from hub.feed.ports import Draft, NoteTarget, Placed
from hub.protocol import Error

log = structlog.get_logger()

Answer = Callable[[Placed | Error], None]
Batch = list[tuple[Draft, Answer]]

CLOSING = Error(
    "shutting_down",
    "The hub is stopping; the note was not saved.",
    "Connect again and send it once more.",
    temporary=True,
)
DROPPED = Error("refused", "The database did not keep the note.", "A trigger on table note dropped it; ask its owner.")


class Writer:
    """Writes all notes, at most `max_batch` in one statement."""

    def __init__(self, target: NoteTarget, max_batch: int) -> None:
        self.batches = self.written = 0
        self._target = target
        self._max_batch = max_batch
        self._queue: deque[tuple[Draft, Answer]] = deque()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = False
        self._loop = asyncio.get_running_loop()

    def submit(self, draft: Draft, answer: Answer) -> None:
        """Queue a note. `answer` is called once, with where it was placed or with why it was not."""
        if self._closing:
            answer(CLOSING)
            return
        self._queue.append((draft, answer))
        self._idle.clear()
        self._wake.set()

    async def publish(self, draft: Draft) -> Placed:
        """Submit one note, and wait until it is committed. Raises CommandError."""
        done: asyncio.Future[Placed | Error] = asyncio.get_running_loop().create_future()
        self.submit(draft, lambda result: None if done.done() else done.set_result(result))
        result = await done
        if isinstance(result, Error):
            raise CommandError(result)
        return result

    async def run(self) -> None:
        """Write until cancelled; what is still queued then is answered with an error."""
        try:
            while True:
                await self._wake.wait()
                while self._queue:
                    await self._write([self._queue.popleft() for _ in range(min(len(self._queue), self._max_batch))])
                self._wake.clear()
                self._idle.set()
        finally:
            self._closing = True
            while self._queue:
                self._queue.popleft()[1](CLOSING)
            self._idle.set()

    async def close(self) -> None:
        """Refuse new notes, and finish what is queued."""
        self._closing = True
        await self._idle.wait()

    async def _write(self, batch: Batch) -> None:
        try:
            places = await self._target.publish([draft for draft, _ in batch])
        except Unavailable as error:
            log.warning("batch_not_written", notes=len(batch), reason=error.reason)
            self._answer(batch, [error.error] * len(batch))
        except Refused as error:
            if len(batch) == 1:
                self._answer(batch, [error.error])
                return
            # Halving finds the refused note, and keeps the order.
            middle = len(batch) // 2
            await self._write(batch[:middle])
            await self._write(batch[middle:])
        except BaseException:
            self._answer(batch, [Unavailable("stopped while writing").error] * len(batch))
            raise
        else:
            self.batches += 1
            self.written += len(batch)
            self._answer(batch, (place or DROPPED for place in places))

    def _answer(self, batch: Batch, results: Iterable[Placed | Error]) -> None:
        """Answer soon, not now: the next batch is sent to the database before the clients of this one hear."""
        self._loop.call_soon(_call, batch, results)


def _call(batch: Batch, results: Iterable[Placed | Error]) -> None:
    for (_, answer), result in zip(batch, results, strict=True):
        answer(result)
