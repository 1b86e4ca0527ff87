"""The systems that are measured side by side: this hub, its peers, and the limit.

Owns how each is started, fed and ended. The limit is fed with a line for each note; all others hear
`channel_note` of the Postgres that the notes are inserted into.
"""

import asyncio
import contextlib
import os
import socket
import tempfile
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import asyncpg

from bench import native
from bench.load import mark
from bench.parts import pinned, serving
from hub.protocol import LOBBY, Note
from hub.protocol.codec import encode

PADDING = "x" * 7  # a hub's frame then has about 200 bytes
INSERT = "insert into note (username, body) select 'gb', unnest($1::text[])"
READY_SECONDS = 30.0
LIMIT, HUB, WITHOUT = "limit (C)", "notes-hub", "notes-hub without io_uring"
HUBS = {HUB: (), WITHOUT: ("--io-uring", "false")}  # options


class System(NamedTuple):
    """A system: `command` is empty for the limit and the hubs, `most` the clients that it can serve."""

    name: str
    command: list[str]
    path: str
    kind: str
    most: int | None = None


SYSTEM_LIMIT = System(LIMIT, [], "/", "ws")


class Running(NamedTuple):
    """A system that runs. `publish` takes the marks of the notes of one burst."""

    port: int
    pid: int
    publish: Callable[[list[int]], Awaitable[object]]


class Limit(NamedTuple):
    """The limit as it runs; `limit.c` says what it does."""

    port: int
    pid: int
    stdin: asyncio.StreamWriter

    async def publish(self, marks: list[int], skip: int = 0) -> None:
        """Send a frame for each mark, joined, to all clients but the first `skip`; marks grow by one."""
        self.stdin.write(b"%d %d %d\n" % (marks[0], len(marks), skip))
        await self.stdin.drain()


def available() -> list[System]:
    """The limit, the hub, and those of the peers that are to be had here."""
    systems = [SYSTEM_LIMIT, *(System(name, [], "/ws", "ws") for name in HUBS)]
    try:
        from bench import peers
    except ImportError as error:
        print(f"no peers: {error}")
        return systems
    try:
        return systems + [System(*each) for each in peers.prepare()]
    except (OSError, RuntimeError) as error:
        print(f"no peers: {error}")
        return systems


@contextlib.asynccontextmanager
async def running(
    system: System, url: str, database: asyncpg.Connection, core: int | None = None
) -> AsyncIterator[Running]:
    """Start a system, kept on one core; it ends with the block."""
    if system.name == LIMIT:
        async with limit(core) as found:
            yield Running(found.port, found.pid, found.publish)
        return

    async def publish(marks: list[int]) -> object:
        return await database.execute(INSERT, [body(each) for each in marks])

    if system.name in HUBS:
        async with serving(url, *HUBS[system.name], core=core) as (address, process):
            yield Running(int(address.rpartition(":")[2]), process.pid, publish)
    else:
        async with _peer(system, url, core) as (port, pid):
            yield Running(port, pid, publish)


def body(ns: int) -> str:
    """A note's body with the moment before it was published."""
    return mark(ns) + PADDING


@contextlib.asynccontextmanager
async def limit(core: int | None = None) -> AsyncIterator[Limit]:
    """The limit, with a frame as the hub would send it."""
    now = datetime.now(UTC).replace(microsecond=123456)
    payload = encode(Note(1795383130135451, 123456, LOBBY, "gb", body(0), now, now)).decode()
    command = [str(native.program("limit")), payload]
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, preexec_fn=pinned(core))
    assert process.stdin and process.stdout
    try:
        yield Limit(int((await process.stdout.readline()).split()[1]), process.pid, process.stdin)
    finally:
        await _end(process)


@contextlib.asynccontextmanager
async def _peer(system: System, url: str, core: int | None) -> AsyncIterator[tuple[int, int]]:
    port = _free_port()
    environment = {**os.environ, "DATABASE_URL": url, "PORT": str(port)}
    with tempfile.TemporaryFile() as said:
        process = await asyncio.create_subprocess_exec(
            *system.command, env=environment, stdin=DEVNULL, stdout=PIPE, stderr=said, preexec_fn=pinned(core)
        )
        assert process.stdout
        try:
            try:
                async with asyncio.timeout(READY_SECONDS):
                    while (line := await process.stdout.readline()) != b"ready\n":
                        if not line:
                            raise RuntimeError(f"{system.name} did not start: {_last_line(said.fileno())}")
            except TimeoutError:
                raise RuntimeError(f"{system.name} was not ready within {READY_SECONDS:.0f} s") from None
            yield port, process.pid
        finally:
            await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(2):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _free_port() -> int:
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        return int(any_port.getsockname()[1])


def _last_line(fd: int) -> str:
    lines = Path(f"/proc/self/fd/{fd}").read_text().strip().splitlines()
    return lines[-1] if lines else "it said nothing"
