"""Several workers behind one port, for as many cores (``notes-hub serve --workers``).

Owns the worker processes: it replaces one that dies, all of them in turn at SIGHUP, and ends when they
cannot serve. Each worker is a whole hub; no client's data passes through here.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process

import msgspec
import structlog

from hub.backoff import backoff
from hub.errors import WorkerError
from hub.server.app import address_of
from hub.settings import PACKAGE, Settings
from hub.workers.sockets import listen
from hub.workers.worker import READY, Orders, patience

log = structlog.get_logger()

SHORT_LIFE = 10.0  # seconds; a worker that ends sooner has failed, as has one that was never ready
MOST_FAILURES = 5  # in a row
START_SECONDS = 30.0  # for a worker that replaces another to be ready


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Serve with workers on the settings' database until told to stop. SIGHUP replaces them in turn.

    Raises OSError when the port is taken, WorkerError when workers fail.
    """
    if sys.platform == "win32":
        raise WorkerError("several workers need Linux or macOS: leave out --workers")
    again = _on_hang_up(stop)
    with contextlib.ExitStack() as stack:
        places = await listen(settings)
        for each in {each for place in places for each in place}:
            stack.enter_context(each)
        folder = tempfile.TemporaryDirectory(prefix="notes-hub-", ignore_cleanup_errors=True)
        stack.enter_context(folder)
        address = address_of(*places[0][0].getsockname()[:2])
        log.info("serving", address=address, websocket=address.replace("http", "ws", 1) + "/ws", workers=len(places))
        workers = Workers(settings, places, folder.name)
        try:
            await workers.run(stop, again)
            log.info("stopping")
        finally:
            await workers.end()


class Worker:
    """A running worker process."""

    def __init__(self, number: int, process: Process) -> None:
        self.number = number
        self.process = process
        self.began = time.monotonic()

    async def failure(self) -> str:
        """Why it has failed to become ready; empty once it is."""
        assert self.process.stdout
        line = (await self.process.stdout.readline()).decode().strip()
        if line == READY:
            return ""
        return line or f"worker {self.number} ended before it was ready, with status {await self.process.wait()}"

    async def end(self, seconds: float) -> None:
        """Tell it to stop, and see to it that it does."""
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        try:
            async with asyncio.timeout(seconds):
                await self.process.wait()
        except TimeoutError:
            log.warning("worker_killed", worker=self.number, pid=self.process.pid)
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()


class Workers:
    """The workers of one hub, numbered from 1."""

    def __init__(self, settings: Settings, places: list[list[socket.socket]], folder: str) -> None:
        self._settings = settings
        self._places = places
        self._folder = folder
        self._serving: dict[int, Worker] = {}
        self._all: set[Worker] = set()  # those that replace others or are replaced, too
        self._changing = {number: asyncio.Lock() for number in range(1, len(places) + 1)}

    async def run(self, stop: asyncio.Event, again: asyncio.Event) -> None:
        """Keep the workers running until told to stop. Raises WorkerError when one fails too often."""
        work = [*map(self._keep, self._changing), self._replace_all(again), stop.wait()]
        tasks = [asyncio.ensure_future(each) for each in work]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def end(self) -> None:
        """Stop them all; who connects meanwhile is refused, not left waiting."""
        for place in self._places:
            for each in place:
                each.close()
        await asyncio.gather(*(worker.end(patience(self._settings)) for worker in self._all))

    async def _keep(self, number: int) -> None:
        async with self._changing[number]:
            worker = self._serving[number] = await self._start(number)
            if reason := await worker.failure():
                raise WorkerError(reason)
        failures, delays = 0, backoff()
        while True:
            status = await worker.process.wait()
            async with self._changing[number]:
                if self._serving[number] is not worker:
                    worker = self._serving[number]
                    continue
                self._all.discard(worker)
                log.warning("worker_lost", worker=number, pid=worker.process.pid, status=status)
                if not reason and time.monotonic() - worker.began > SHORT_LIFE:
                    failures, delays = 0, backoff()
                failures += 1
                if failures == MOST_FAILURES:
                    raise WorkerError(reason or f"worker {number} ended {failures} times soon after its start")
                await asyncio.sleep(next(delays))
                worker = self._serving[number] = await self._start(number)
                reason = await worker.failure()

    async def _replace_all(self, again: asyncio.Event) -> None:
        while True:
            await again.wait()
            again.clear()
            log.info("replacing_workers")
            for number in self._changing:
                if not await self._replace(number):
                    break
            else:
                log.info("workers_replaced")

    async def _replace(self, number: int) -> bool:
        """Put a new worker in place of another, which ends once the new one is ready; or keep it if that fails."""
        async with self._changing[number]:
            old, new = self._serving[number], await self._start(number)
            try:
                async with asyncio.timeout(START_SECONDS):
                    reason = await new.failure()
            except TimeoutError:
                reason = f"not ready within {START_SECONDS:.0f} s"
            if not reason:
                self._serving[number] = new
        leaving = new if reason else old
        if reason:
            log.error("worker_not_replaced", worker=number, reason=reason)
        await leaving.end(patience(self._settings))
        self._all.discard(leaving)
        return not reason

    async def _start(self, number: int) -> Worker:
        sockets = [each.fileno() for each in self._places[number - 1]]
        path = str(PACKAGE.parent), os.environ.get("PYTHONPATH")
        # -P: the folder in which somebody starts the hub may have another `hub` in it.
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "hub.workers.worker"),
            stdin=PIPE,
            stdout=PIPE,
            pass_fds=sockets,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, path))},
            start_new_session=True,  # Ctrl-C in a terminal is for us to hand on
        )
        worker = Worker(number, process)
        self._all.add(worker)
        assert process.stdin
        process.stdin.write(msgspec.json.encode(Orders(self._settings, number, sockets, self._folder)) + b"\n")
        log.info("worker_started", worker=number, pid=process.pid)
        return worker


def _on_hang_up(stop: asyncio.Event) -> asyncio.Event:
    """The event that SIGHUP sets, which replaces the workers; but the one of a terminal that closes is the end."""
    again = asyncio.Event()
    terminal = sys.stderr.isatty()

    def hang_up() -> None:
        (stop if terminal and not sys.stderr.isatty() else again).set()

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hang_up)
    return again
