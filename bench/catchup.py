"""How quickly a client far behind catches up: from the hub's memory and from the log, one and fifty at once."""

import asyncio
import time

import asyncpg

from bench import usage
from bench.crowd import crowd, received
from bench.parts import embedded_database, row, serving

NOTES = 100_000
CROWD = 50
INSERT = "insert into note (username, body) select 'gb', repeat('x', 80) || n from generate_series(1, $1::int) n"
BIG = ("--ring-bytes", str(1 << 30))  # a ring that holds all of them


async def run(full: bool = False) -> None:
    """Print the table. Every client must get every note once."""
    rounds = 5 if full else 3
    figures: dict[str, list[tuple[float, float]]] = {}
    async with embedded_database() as url, serving(url, *BIG) as ring:
        database = await asyncpg.connect(url)
        cursor = await database.fetchval("select floor from note_log")
        await database.execute(INSERT, NOTES)
        await database.close()
        async with serving(url) as log:  # started with the log as it is, it holds but the newest
            for _ in range(rounds):
                for source, running in {"ring": ring, "log": log}.items():
                    for clients in (1, CROWD):
                        name = f"from the {source}, {clients} client{'s' * (clients > 1)}"
                        figures.setdefault(name, []).append(await _catch_up(running, cursor, clients))
    print(f"\nCatching up with {NOTES:,} notes, {rounds} rounds in turn (median, range)")
    for name, values in figures.items():
        print(row(f"{name}: notes delivered", [rate for rate, _ in values], "/s"))
        print(row(f"{name}: the hub's CPU per note delivered", [cost * 1e6 for _, cost in values], "µs"))


async def _catch_up(running: tuple[str, asyncio.subprocess.Process], cursor: int, count: int) -> tuple[float, float]:
    """Notes delivered per second, and seconds of the hub's CPU per note."""
    address, process = running
    meter, start = usage.Meter(process.pid), time.perf_counter()
    async with crowd(address, [f"/ws?after={cursor}"] * count) as clients:
        async with asyncio.timeout(120):
            await asyncio.gather(*(each.caught_up for each in clients))
        took, spent = time.perf_counter() - start, meter.seconds()
        await received(clients, NOTES)
    return NOTES * count / took, spent / (NOTES * count)
