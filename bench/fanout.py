"""Fan-out: what a note costs for each client that gets it, for this hub, its peers and the limit.

Owns the ways in which notes come, and the rounds in which the systems take turns. A system has one
core; the load, Postgres and whoever inserts have the other. Every delivery is counted: the run fails
if this hub loses or doubles one, and a peer's line says so.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from typing import NamedTuple

import asyncpg

from bench import native
from bench.load import Count, Load, LoadError, clients, now
from bench.parts import core_time, embedded_database
from bench.systems import HUBS, LIMIT, SYSTEM_LIMIT, Running, System, available, running
from bench.table import show
from hub.postgres import migrations

WAYS = ("single", "paced", "burst")
BURST = 10
PACE = 4_000_000  # ns between notes to up to 1,000 clients
PACE_EACH = 4_000  # ns for each client when there are more, so that it is no overload
ENOUGH = 100_000  # deliveries
BACKLOG = 50  # notes that not all have yet: a system that does not keep the pace sets it from there on
WARM_UP = 0.3  # seconds; compilers of a peer's runtime need some notes too
GRACE = 0.05  # seconds in which a delivery too many would come


class Effort(NamedTuple):
    """How long to measure: rounds, and the least and the most seconds of one cell."""

    sizes: tuple[int, ...]
    rounds: int
    least: float
    most: float


QUICK = Effort((1, 100, 1000), 3, 0.5, 1.5)
FULL = Effort((1, 100, 1000, 5000, 10_000), 3, 1.0, 3.0)


class Cell(NamedTuple):
    """One way of notes to one system's clients, once: what it cost and what was counted."""

    system: str
    way: str
    clients: int
    ran: int  # ns that the system had a core
    waited: int  # ns that it was ready and had none, since others had it
    wall: int  # ns from the first note to the last delivery
    count: Count | None
    wrong: str


async def run(full: bool = False) -> None:
    """Print the tables. Ends the program when the hub loses a note."""
    effort = FULL if full else QUICK
    try:
        native.program("load")
        native.program("limit")
    except native.NativeError as error:
        sys.exit(str(error))
    systems = available()
    cells: list[Cell] = []
    async with own_core() as core, embedded_database() as url, connected(url) as database:
        for number in range(effort.rounds):
            for size in effort.sizes:
                print(f"fan-out: round {number + 1} of {effort.rounds}, {size:,} clients", file=sys.stderr)
                for system in systems:
                    if system.most is None or size <= system.most:
                        cells += await visit(system, size, effort, url, database, core)
        ceiling = await load_ceiling(core, url, database)
    show(cells, effort.sizes, WAYS, effort.rounds)
    cores = "one for the system, one for the rest" if core is not None else "one for everything"
    print(f"\nThe load's own limit: {ceiling / 1e6:.1f} million deliveries/s of joined frames. Cores: {cores}.")
    waited, wall = sum(cell.waited for cell in cells), sum(cell.wall for cell in cells)
    share = 100 * waited / max(wall, 1)
    print(f"Other programs had the systems' core {share:.0f} % of the time: with more than 2 %, repeat.")
    if wrong := [cell for cell in cells if cell.wrong and cell.system in (*HUBS, LIMIT)]:
        sys.exit("\n".join(f"{each.system}: {each.clients} clients, {each.way}: {each.wrong}" for each in wrong))


@contextlib.asynccontextmanager
async def own_core() -> AsyncIterator[int | None]:
    """Keep this process, and what it starts, off one core: which; None where there is only one."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        yield None
        return
    os.sched_setaffinity(0, set(cores[1:2]))
    try:
        yield cores[0]
    finally:
        os.sched_setaffinity(0, cores)


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the database, which has the hub's schema."""
    database = await asyncpg.connect(url)
    try:
        await migrations.migrate(database)
        yield database
    finally:
        await database.close()


async def visit(
    system: System, size: int, effort: Effort, url: str, database: asyncpg.Connection, core: int | None
) -> list[Cell]:
    """All ways once, for so many clients."""
    cells, way = [], "warm-up"
    try:
        async with (
            running(system, url, database, core) as target,
            clients(target.port, system.path, system.kind, size) as load,
        ):
            await warm_up(load, target)
            for way in WAYS:
                cells.append(await measure(system, way, load, target, effort))
    except RuntimeError as error:  # it did not start, or a client did not get what it should
        cells.append(Cell(system.name, way, size, 0, 0, 0, None, str(error)))
    return cells


async def warm_up(load: Load, target: Running) -> None:
    """Wait until every client gets notes, since a server may answer a handshake before it remembers the client."""
    for attempts in range(20):
        await load.start()
        await target.publish([now()])
        try:
            await load.all_have(1, 0.5)
            break
        except LoadError:
            if attempts == 19:
                raise
    await load.start()
    until, notes = now() + WARM_UP * 1e9, 0
    while now() < until:
        await target.publish([now()])
        notes += 1
        await load.all_have(notes)


async def measure(system: System, way: str, load: Load, target: Running, effort: Effort) -> Cell:
    """One cell. Raises LoadError when something does not come."""
    await load.start()
    pace = max(PACE, PACE_EACH * load.clients)
    before, start, notes = core_time(target.pid), now(), 0
    while (took := now() - start) < effort.most * 1e9:
        if took > effort.least * 1e9 and notes * load.clients >= ENOUGH:
            break
        marks = [now() + number for number in range(BURST if way == "burst" else 1)]
        await target.publish(marks)
        notes += len(marks)
        await load.all_have(notes - BACKLOG if way == "paced" else notes)
        if way == "paced" and (pause := start + notes // len(marks) * pace - now()) > 0:
            await asyncio.sleep(pause / 1e9)
    await load.all_have(notes)
    await asyncio.sleep(GRACE)
    after, count = core_time(target.pid), await load.count()
    times = (after.ran - before.ran, after.waited - before.waited, count.finished - start)
    return Cell(system.name, way, load.clients, *times, count, count.wrong(load.clients, notes))


async def load_ceiling(core: int | None, url: str, database: asyncpg.Connection) -> float:
    """Deliveries a second that the load itself can read: the limit sends it 500 frames at a time."""
    frames, rounds, size = 500, 20, 100
    async with running(SYSTEM_LIMIT, url, database, core) as target, clients(target.port, "/", "ws", size) as load:
        await load.start()
        start = now()
        for number in range(rounds):
            first = now()
            await target.publish([first + each for each in range(frames)])
            await load.all_have((number + 1) * frames)
        count = await load.count()
    return count.deliveries / (count.finished - start) * 1e9
