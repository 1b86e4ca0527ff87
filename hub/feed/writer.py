"""Gathers submitted notes and inserts them together.

Owns the queue between all who publish and the database. While one batch commits, the next one gathers: so batches grow
with the load, and a lone note waits for nothing. The answers come after the commit, in the order of the submissions.
A note that fails never fails its neighbours. One that another transaction holds up is tried again apart, and then its
answer may come later than those of its successors.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

import structlog

from hub.errors import CommandError, Held, Refused, Unavailable
from hub.feed.ports import Draft, NoteTarget, Placed
from hub.protocol import Error

log = structlog.get_logger()

Answer = Callable[[Placed | Error], None]
Batch = list[tuple[Draft, Answer]]
Result = Placed | CommandError | None  # None: the database did not keep the note

MAX_HELD = 100  # notes that are tried apart
HELD_FOR = 10.0  # seconds that they are tried for, about
HELD_RETRY = 0.2  # seconds between the tries

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
        self._held: list[tuple[float, Draft, Answer]] = []  # the first is the time of the loop at which it gives up
        self._holds = asyncio.Event()
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
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._write_held())
                await self._write_queued()
        finally:
            self._closing = True
            for _, answer in (*((draft, answer) for _, draft, answer in self._held), *self._queue):
                answer(CLOSING)
            self._held.clear()
            self._queue.clear()
            self._idle.set()

    async def close(self) -> None:
        """Refuse new notes, and finish what is queued."""
        self._closing = True
        while not self._idle.is_set():
            await self._idle.wait()

    async def _write_queued(self) -> None:
        while True:
            await self._wake.wait()
            while self._queue:
                batch = [self._queue.popleft() for _ in range(min(len(self._queue), self._max_batch))]
                # Answer soon, not now: the next batch is sent to the database before the clients of this one hear.
                self._loop.call_soon(self._answer, batch, await self._write(batch))
            self._wake.clear()
            self._loop.call_soon(self._rest)

    async def _write(self, batch: Batch, apart: bool = False) -> Iterable[Result]:
        try:
            results = await self._target.publish([draft for draft, _ in batch], apart)
        except (Refused, Unavailable) as error:
            log.warning("batch_not_written", notes=len(batch), reason=error.reason)
            return [error] * len(batch)
        except BaseException:
            stopped = Unavailable("stopped while writing")
            self._loop.call_soon(self._answer, batch, [stopped] * len(batch))
            raise
        self.batches += 1
        return results

    def _answer(self, batch: Batch, results: Iterable[Result]) -> None:
        for (draft, answer), result in zip(batch, results, strict=True):
            if isinstance(result, Held) and len(self._held) < MAX_HELD and not self._closing:
                self._held.append((self._loop.time() + HELD_FOR, draft, answer))
                self._holds.set()
            else:
                self._tell(answer, result)

    def _tell(self, answer: Answer, result: Result) -> None:
        if isinstance(result, Placed):
            self.written += 1
            answer(result)
        else:
            answer(result.error if result else DROPPED)

    async def _write_held(self) -> None:
        """Try again what others hold up, until it is written, fails for another reason, or has waited long enough."""
        while True:
            await self._holds.wait()
            await asyncio.sleep(HELD_RETRY)
            tried, self._held = self._held, []
            results = await self._write([(draft, answer) for _, draft, answer in tried], apart=True)
            still, now = [], self._loop.time()
            for waiting, result in zip(tried, results, strict=True):
                until, _, answer = waiting
                if isinstance(result, Held) and now < until and not self._closing:
                    still.append(waiting)
                else:
                    self._tell(answer, result)
            self._held = still + self._held
            if not self._held:
                self._holds.clear()
                self._rest()

    def _rest(self) -> None:
        if not (self._wake.is_set() or self._holds.is_set()):
            self._idle.set()
