"""Drives the load: a process in C that is all the clients, and counts what reaches them.

Owns the conversation with `load.c`; its opening says what is counted, and how.
"""

import asyncio
import contextlib
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator

import msgspec

from bench import native
from bench.parts import pinned

MARK = "~note~"
CONNECT_SECONDS = 60.0


class LoadError(RuntimeError):
    """The load has ended, or a client was closed, or what was expected did not come."""


class Count(msgspec.Struct, frozen=True):
    """What reached the clients since `start`; times in ns.

    `least` and `most` are notes of a client, `again` those that came twice or out of order,
    `closed` clients that are gone, `finished` the CLOCK_MONOTONIC of the last delivery, `cpu` the
    load's own, and the rest the time from a note's mark until a client had it.
    """

    deliveries: int
    least: int
    most: int
    again: int
    closed: int
    finished: int
    cpu: int
    p50: int
    p99: int
    p999: int
    worst: int

    def wrong(self, clients: int, notes: int) -> str:
        """What is not as it must be when each client was to get each note once; nothing if all is well."""
        lost = clients * notes - self.deliveries
        found = (("lost", lost), ("doubled or out of order", self.again), ("closed", self.closed))
        return ", ".join(f"{number:,} {what}" for what, number in found if number)


def mark(ns: int) -> str:
    """What the body of a note must have in it, for the moment (CLOCK_MONOTONIC) before it was published."""
    return f"{MARK}{ns:020d}"


class Load:
    """Clients that are connected."""

    def __init__(self, process: asyncio.subprocess.Process, clients: int) -> None:
        assert process.stdin and process.stdout
        self.clients = clients
        self.pid = process.pid
        self._in, self._out = process.stdin, process.stdout
        self._all = 0

    async def start(self) -> None:
        """Forget what was counted; notes published from now on are."""
        self._in.write(b"start\n")
        while await self._line() != "started":
            pass
        self._all = 0

    async def all_have(self, notes: int, seconds: float = 30.0) -> None:
        """Wait until every client has so many notes since `start`. Raises LoadError."""
        try:
            async with asyncio.timeout(seconds):
                while self._all < notes:
                    what, _, value = (await self._line()).partition(" ")
                    if what == "closed":
                        raise LoadError(f"a client was closed with code {value}")
                    self._all = int(value)
        except TimeoutError:
            raise LoadError(f"after {seconds:.0f} s not every client has {notes} notes") from None

    async def count(self) -> Count:
        """What was counted since `start`."""
        self._in.write(b"end\n")
        while not (line := await self._line()).startswith("{"):
            pass
        return msgspec.json.decode(line, type=Count)

    async def _line(self) -> str:
        line = await self._out.readline()
        if not line:
            raise LoadError("the load has ended; what it said is above")
        return line.decode().rstrip()


@contextlib.asynccontextmanager
async def clients(port: int, path: str, kind: str, number: int, core: int | None = None) -> AsyncIterator[Load]:
    """Clients of a server on this machine, connected: `kind` is ws, socket.io or lines. Raises LoadError."""
    command = [str(native.program("load")), str(port), path, kind, str(number)]
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, preexec_fn=pinned(core))
    try:
        load = Load(process, number)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                while await load._line() != "connected":
                    pass
        except TimeoutError:
            raise LoadError(f"{number} clients were not connected within {CONNECT_SECONDS:.0f} s") from None
        yield load
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def now() -> int:
    """CLOCK_MONOTONIC in ns, as the load reads it."""
    return time.monotonic_ns()
