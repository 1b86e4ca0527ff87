"""Measures what each fault costs in time: until a client is told of it, and until it gets current notes again.

A writer commits a note every few milliseconds on a connection of its own; a client follows them with the Python
library and its default settings, through a hub with default settings behind a proxy. Detection is the client's first
Status(false) after the fault, or the loss of its own connection; recovery is the first note that was begun after the
fault, or after its heal where there is one, counted from there.

  python -m tests.faults.recovery --repetitions 7
"""

import argparse
import asyncio
import contextlib
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import structlog
import uvloop

from hub.client.connection import connect
from hub.client.events import Interrupted
from hub.embedded import server as embedded
from hub.protocol import Note, Status
from tests.faults.chaos import LOST, admin, runs
from tests.faults.hubs import ManagedHub, managed

EVERY = 0.004  # seconds between the writer's notes
SETTLE = 1.5  # seconds of peace before each fault; its end is moved by chance, so that it meets every phase of a check
HOLE = 6.0  # seconds that a black hole lasts, where it ends
DEADLINE = 60.0  # seconds for anything to recover
LISTENER = "select pid from pg_stat_activity where application_name = 'notes-hub listener'"


class Measured(NamedTuple):
    """Seconds; `detected` is None where the client was told nothing."""

    detected: float | None
    recovered: float


class Bench:
    """A world at peace: one hub, one writer, one client, and when the client got what."""

    def __init__(self, url: str, data_dir: Path, hub: ManagedHub) -> None:
        self.url = url
        self.hub = hub
        self._pid_file = data_dir / "postgres" / "postmaster.pid"
        self._begun: dict[str, float] = {}  # body → when its INSERT was begun
        self._newest = 0.0  # when the newest note that the client has was begun
        self._got = asyncio.Event()
        self._told: list[float] = []

    async def write(self) -> None:
        """Commit a note every few milliseconds, for ever."""
        number = 0
        while True:
            with contextlib.suppress(*LOST):
                connection = await asyncpg.connect(self.url, timeout=5, command_timeout=5)
                try:
                    while True:
                        number += 1
                        self._begun[str(number)] = time.monotonic()
                        await connection.execute("insert into note (username, body) values ('w', $1)", str(number))
                        await asyncio.sleep(EVERY)
                finally:
                    connection.terminate()
            await asyncio.sleep(EVERY)

    async def read(self) -> None:
        """Follow the notes, for ever."""
        async with connect(self.hub.address) as notes:
            async for each in notes:
                if isinstance(each, Note):
                    self._newest = max(self._newest, self._begun.pop(each.body, 0.0))
                    self._got.set()
                elif each == Status(False) or isinstance(each, Interrupted):
                    self._told.append(time.monotonic())

    async def current(self, since: float) -> float:
        """Wait until the client has a note that was begun after a moment; gives when that is."""
        async with asyncio.timeout(DEADLINE):
            while self._newest <= since:
                self._got.clear()
                await self._got.wait()
        return time.monotonic()

    async def measure(self, fault: "Fault") -> Measured:
        """One fault, from peace to peace."""
        await self.current(time.monotonic())
        await asyncio.sleep(SETTLE + random.uniform(0, 2))
        self._told.clear()
        async with fault(self) as (start, since):
            recovered = await self.current(since) - since
            detected = self._told[0] - start if self._told else None
        return Measured(detected, recovered)

    def signal_postgres(self, number: int) -> int:
        """Signal the postmaster; gives its process id."""
        pid = int(self._pid_file.read_text().split()[0])
        os.kill(pid, number)
        return pid


# A fault: broken while entered; gives when it began, and since when recovery counts.
Fault = Callable[[Bench], contextlib.AbstractAsyncContextManager[tuple[float, float]]]


@contextlib.asynccontextmanager
async def terminated(bench: Bench) -> AsyncIterator[tuple[float, float]]:
    """The listener's backend is ended by an administrator."""
    async with admin(bench.url) as database:
        start = time.monotonic()
        await database.execute(f"select pg_terminate_backend(pid, 5000) from ({LISTENER}) as listener")
        yield start, start


@contextlib.asynccontextmanager
async def frozen(bench: Bench) -> AsyncIterator[tuple[float, float]]:
    """The listener's backend stands still and stays so."""
    async with admin(bench.url) as database:
        pid = await database.fetchval(LISTENER)
    assert runs(pid)
    os.kill(pid, signal.SIGSTOP)
    try:
        start = time.monotonic()
        yield start, start
    finally:
        os.kill(pid, signal.SIGCONT)


@contextlib.asynccontextmanager
async def stranded(bench: Bench) -> AsyncIterator[tuple[float, float]]:
    """Nothing comes through the connections that there are, as behind a firewall that forgot them; new ones work."""
    start = time.monotonic()
    bench.hub.proxy.strand()
    yield start, start


@contextlib.asynccontextmanager
async def black_holed(bench: Bench) -> AsyncIterator[tuple[float, float]]:
    """Nothing comes through the network at all for some seconds, and what was under way is lost."""
    start = time.monotonic()
    bench.hub.proxy.open.clear()
    await asyncio.sleep(HOLE)
    bench.hub.proxy.cut()
    bench.hub.proxy.open.set()
    yield start, time.monotonic()


@contextlib.asynccontextmanager
async def cut(bench: Bench) -> AsyncIterator[tuple[float, float]]:
    """All connections between hub and Postgres break."""
    start = time.monotonic()
    bench.hub.proxy.cut()
    yield start, start


async def _restarted(bench: Bench, number: int) -> tuple[float, float]:
    start = time.monotonic()
    pid = bench.signal_postgres(number)
    async with asyncio.timeout(DEADLINE):
        while runs(pid):
            await asyncio.sleep(0.002)
    async with admin(bench.url, DEADLINE):
        return start, time.monotonic()


@contextlib.asynccontextmanager
async def restarted_fast(bench: Bench) -> AsyncIterator[tuple[float, float]]:
    """Postgres is stopped in the fast way and started; counts from when it accepts connections."""
    yield await _restarted(bench, signal.SIGINT)


@contextlib.asynccontextmanager
async def restarted_immediate(bench: Bench) -> AsyncIterator[tuple[float, float]]:
    """Postgres is stopped at once, recovers from its log and starts; counts from when it accepts connections."""
    yield await _restarted(bench, signal.SIGQUIT)


@contextlib.asynccontextmanager
async def killed(bench: Bench) -> AsyncIterator[tuple[float, float]]:
    """The hub is killed and started again at once; counts from the command that starts it."""
    start = time.monotonic()
    await bench.hub.kill()
    since = time.monotonic()
    await bench.hub.start()
    yield start, since


FAULTS: dict[str, tuple[Fault, float | None]] = {  # and the most that recovery may take
    "listener terminated": (terminated, 0.5),
    "listener frozen": (frozen, 5.0),
    "connections black-holed, new ones pass": (stranded, 5.0),
    f"network black-holed for {HOLE:.0f} s, from its heal": (black_holed, 5.0),
    "network cut": (cut, None),
    "Postgres restarted (fast)": (restarted_fast, 2.0),
    "Postgres restarted (immediate)": (restarted_immediate, 2.0),
    "hub killed, client resumes": (killed, None),
}


async def run(repetitions: int, only: str) -> bool:
    """Measure and print a table; True if every target is met in every repetition."""
    folder, met = Path(tempfile.mkdtemp(prefix="notes-recovery-")), True
    head = ("fault", "detected: median", "worst", "recovered: median", "worst", "target")
    print(f"{head[0]:<42} | " + " | ".join(f"{name:>17}" for name in head[1:]), flush=True)
    try:
        for name, (fault, target) in FAULTS.items():
            if only in name:
                measured = await _measure(folder / str(len(list(folder.iterdir()))), fault, repetitions)
                met &= target is None or max(each.recovered for each in measured) < target
                print(_row(name, measured, target), flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return met


async def _measure(folder: Path, fault: Fault, repetitions: int) -> list[Measured]:
    # A Postgres of its own for each kind, as its keeper waits longer before each further start.
    folder.mkdir()
    async with embedded.running(folder) as url, managed(url, folder / "hub.log") as hub:
        async with asyncio.timeout(20):
            await hub.answers()
        bench = Bench(url, folder, hub)
        return await _with(bench.write(), bench.read(), work=_repeat(bench, fault, repetitions))


async def _repeat(bench: Bench, fault: Fault, repetitions: int) -> list[Measured]:
    return [await bench.measure(fault) for _ in range(repetitions)]


async def _with(*companions: Coroutine[Any, Any, None], work: Coroutine[Any, Any, list[Measured]]) -> list[Measured]:
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(companion) for companion in companions]
        try:
            return await work
        finally:
            for each in running:
                each.cancel()


def _row(name: str, measured: list[Measured], target: float | None) -> str:
    told = [each.detected for each in measured if each.detected is not None]
    times = [each.recovered for each in measured]
    figures = [statistics.median(told), max(told)] if told else [None, None]
    figures += [statistics.median(times), max(times), target]
    return f"{name:<42} | " + " | ".join(f"{'-' if each is None else f'{each:.3f} s':>17}" for each in figures)


def main() -> int:
    """Measure; 1 if a target was missed."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.recovery",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--repetitions", type=int, default=7, help="of each fault (default 7)")
    parser.add_argument("--only", default="", help="only the faults with this in their name")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return 0 if runner.run(run(options.repetitions, options.only)) else 1


if __name__ == "__main__":
    sys.exit(main())
