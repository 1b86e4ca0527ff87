"""The supervisor of worker processes, for hubs that use several cores (``notes-hub serve --workers``).

Owns the worker processes: it starts them, replaces one that dies, replaces all of them in turn at SIGHUP, and ends when
they cannot serve. No client's data passes through here.
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
from hub.server.app import BACKLOG, address_of
from hub.settings import PACKAGE, Settings
from hub.workers.worker import READY, Orders, patience

log = structlog.get_logger()

SHORT_LIFE = 10.0  # seconds; a worker has failed if it ends sooner than this after its start, or before it is ready
MOST_FAILURES = 5  # in a row; then the supervisor gives up
START_SECONDS = 30.0  # that a replacement has to become ready


async def serve(settings: Settings, sockets_by_worker: list[list[socket.socket]], stop: asyncio.Event) -> None:
    """Serve with a worker for each list of sockets on the database `settings.database_url` until `stop` is set.

    SIGHUP replaces all workers in turn. Raises WorkerError when workers fail.
    """
    replace = _on_hang_up(stop)
    with tempfile.TemporaryDirectory(prefix="notes-hub-", ignore_cleanup_errors=True) as folder:
        for each in {each for sockets in sockets_by_worker for each in sockets}:
            each.listen(BACKLOG)
        address = address_of(*sockets_by_worker[0][0].getsockname()[:2])
        websocket = address.replace("http", "ws", 1) + "/ws"
        log.info("serving", address=address, websocket=websocket, workers=settings.workers)
        supervisor = Supervisor(settings, sockets_by_worker, folder)
        try:
            await supervisor.run(stop, replace)
            log.info("stopping")
        finally:
            await supervisor.end()


class Worker:
    """A running worker process."""

    def __init__(self, number: int, process: Process) -> None:
        self.number = number
        self.process = process
        self.began = time.monotonic()

    async def failure(self) -> str:
        """Wait until the worker is ready, and return an empty text; or return the reason why it failed."""
        assert self.process.stdout
        line = (await self.process.stdout.readline()).decode().strip()
        if line == READY:
            return ""
        return line or f"worker {self.number} ended before it was ready, with status {await self.process.wait()}"

    async def end(self, seconds: float) -> None:
        """Tell the worker to stop and wait for its end; kill it after this many seconds."""
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


class Supervisor:
    """Keeps the workers of one hub running; they are numbered from 1."""

    def __init__(self, settings: Settings, sockets_by_worker: list[list[socket.socket]], folder: str) -> None:
        self._settings = settings
        self._sockets_by_worker = sockets_by_worker
        self._folder = folder  # where the workers' sockets for counts are
        self._serving: dict[int, Worker] = {}
        self._all: set[Worker] = set()  # also those that are being replaced, and their replacements
        self._changing = {number: asyncio.Lock() for number in range(1, len(sockets_by_worker) + 1)}

    async def run(self, stop: asyncio.Event, replace: asyncio.Event) -> None:
        """Keep the workers running until `stop` is set; replace them in turn whenever `replace` is set.

        Raises WorkerError when a worker does not become ready at first, or fails too often later.
        """
        work = [*map(self._keep, self._changing), self._replace_all(replace), stop.wait()]
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
        """Stop all workers. The sockets close first, so that new clients are refused at once and do not wait."""
        for sockets in self._sockets_by_worker:
            for each in sockets:
                each.close()
        await asyncio.gather(*(worker.end(patience(self._settings)) for worker in self._all))

    async def _keep(self, number: int) -> None:
        """Start a worker, and another one whenever it is lost; wait between those that fail one after the other.

        A worker may have to wait long for its database, so it can be replaced before it is ready.
        """
        async with self._changing[number]:
            worker = self._serving[number] = await self._start(number)
        reason = await worker.failure()
        if reason and self._serving[number] is worker:
            raise WorkerError(reason)
        failures, delays = 0, backoff()
        while True:
            status = await worker.process.wait()
            async with self._changing[number]:
                if self._serving[number] is not worker:  # it was replaced
                    worker, reason = self._serving[number], ""
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

    async def _replace_all(self, replace: asyncio.Event) -> None:
        while True:
            await replace.wait()
            replace.clear()
            log.info("replacing_workers")
            for number in self._changing:
                if not await self._replace(number):
                    break
            else:
                log.info("workers_replaced")

    async def _replace(self, number: int) -> bool:
        """Start a replacement and, once that is ready, end the old worker; keep the old one if the replacement fails.

        Returns whether the worker was replaced.
        """
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
        sockets = [each.fileno() for each in self._sockets_by_worker[number - 1]]
        path = str(PACKAGE.parent), os.environ.get("PYTHONPATH")
        # -P keeps Python from importing another `hub` from the current folder.
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "hub.workers.worker"),
            stdin=PIPE,
            stdout=PIPE,
            pass_fds=sockets,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, path))},
            start_new_session=True,  # Ctrl-C in a terminal reaches the supervisor only, which then stops the workers
        )
        worker = Worker(number, process)
        self._all.add(worker)
        assert process.stdin
        process.stdin.write(msgspec.json.encode(Orders(self._settings, number, sockets, self._folder)) + b"\n")
        log.info("worker_started", worker=number, pid=process.pid)
        return worker


def _on_hang_up(stop: asyncio.Event) -> asyncio.Event:
    """Return an event that SIGHUP sets. A SIGHUP that comes because the terminal closes sets `stop` instead."""
    replace = asyncio.Event()
    terminal = sys.stderr.isatty()

    def hang_up() -> None:
        (stop if terminal and not sys.stderr.isatty() else replace).set()

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hang_up)
    return replace
