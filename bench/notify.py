"""How far one Postgres's NOTIFY goes: rows per second by the number of hubs that listen, and what each costs it.

The listeners are bare connections of one process that only count, since what is asked for is
Postgres's part: its listening backends, and the commits that they do not slow down, or do.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import asyncpg

from bench.parts import cpu, embedded_database
from hub.postgres import migrations
from hub.postgres.notifications import CHANNEL

LISTENERS = (0, 1, 2, 4, 8, 16)
MANY = (0, 1, 4, 16, 64)
SECONDS = 2.0
BATCH = 100  # rows of a statement
ROUNDS = 3
SINGLE = "insert into note (username, body) values ('gb', repeat('x', 60))"
BATCHED = f"insert into note (username, body) select 'gb', repeat('x', 60) || n from generate_series(1, {BATCH}) n"


class Pace(NamedTuple):
    """What one run reached."""

    rows: float  # a second
    writer: float  # µs of the writing backend's CPU for a row
    listener: float  # µs of a listening backend's CPU for a row


class Listeners:
    """Connections that count what they hear."""

    def __init__(self) -> None:
        self.heard = 0
        self.connections: list[asyncpg.Connection] = []
        self.pids: list[int] = []

    async def grow(self, url: str, number: int) -> None:
        """Have that many."""
        while len(self.connections) < number:
            connection = await asyncpg.connect(url)
            await connection.add_listener(CHANNEL, self._hear)
            self.connections.append(connection)
            self.pids.append(connection.get_server_pid())

    def _hear(self, *_: object) -> None:
        self.heard += 1

    async def until(self, expected: int) -> None:
        """Wait until all have heard everything."""
        async with asyncio.timeout(60):
            while self.heard < expected:
                await asyncio.sleep(0.001)
        assert self.heard == expected, "a notification came twice"


async def run(full: bool = False) -> None:
    """Print the table."""
    async with embedded_database() as url:
        writer = await asyncpg.connect(url)
        await migrations.migrate(writer)
        listeners = Listeners()
        print(
            f"\nOne Postgres and those who listen: rows/s, µs of CPU a row; {ROUNDS} rounds of {SECONDS:.0f} s (median)"
        )
        heads = ("single INSERTs", "writer", "each", f"{BATCH}-row INSERTs", "writer", "each")
        print("  {:<12}{:>16}{:>9}{:>7}{:>18}{:>9}{:>7}".format("", *heads))
        for number in MANY if full else LISTENERS:
            await listeners.grow(url, number)
            single = await _rounds(lambda: _pace(writer, listeners, SINGLE, 1))
            batched = await _rounds(lambda: _pace(writer, listeners, BATCHED, BATCH))
            cells = f"{single.rows:>16,.0f}{single.writer:>9.1f}{single.listener:>7.2f}"
            cells += f"{batched.rows:>18,.0f}{batched.writer:>9.1f}{batched.listener:>7.2f}"
            print(f"  {number:>3} listening{cells}")
        for connection in (writer, *listeners.connections):
            await connection.close()


async def _rounds(measure: Callable[[], Awaitable[Pace]]) -> Pace:
    paces = [await measure() for _ in range(ROUNDS)]
    return Pace(*(statistics.median(column) for column in zip(*paces, strict=True)))


async def _pace(writer: asyncpg.Connection, listeners: Listeners, statement: str, rows: int) -> Pace:
    """One writer as fast as it can, until all listeners have heard all of it."""
    listeners.heard = written = 0
    pid, start = writer.get_server_pid(), time.perf_counter()
    before, heard_before = cpu(pid), sum(map(cpu, listeners.pids))
    while time.perf_counter() - start < SECONDS:
        await writer.execute(statement)
        written += rows
        # Never far ahead of the listeners: what counts is what they can take for ever.
        while listeners.heard < (written - 5000) * len(listeners.pids):
            await asyncio.sleep(0.001)
    await listeners.until(written * len(listeners.pids))
    took = time.perf_counter() - start
    each = (sum(map(cpu, listeners.pids)) - heard_before) / max(1, len(listeners.pids))
    return Pace(written / took, (cpu(pid) - before) / written / 1e3, each / written / 1e3)
