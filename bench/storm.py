"""Thousands of clients lose the hub and come back with their cursors within a second."""

import asyncio
import random
import re
import sys
import time
import urllib.request

import asyncpg

from bench.crowd import Reader, connect
from bench.parts import embedded_database, row, serving

CLIENTS = 5000
MISSED = 200  # notes committed while the hub is away
EXPECTED = re.compile(r"^hub_log_reads_total (\S+)", re.MULTILINE)


async def run(clients: int = CLIENTS) -> None:
    """Print the table. Every client must get exactly what it missed."""
    async with embedded_database() as url:
        database = await asyncpg.connect(url)
        async with serving(url, "--port", "0") as (address, process):
            await database.execute("insert into note (username, body) values ('gb', 'first')")
            crowd = await _gather([connect(address, "/ws?last=1") for _ in range(clients)])
            process.kill()
            await asyncio.gather(*(each.lost for each in crowd))
        cursor = await database.fetchval("select max(seq) from note_event")
        await database.execute(
            "insert into note (username, body) select 'gb', n::text from generate_series(1, $1) n", MISSED
        )
        async with serving(url) as (address, _):
            live = asyncio.ensure_future(_live(database))
            start = time.perf_counter()
            times = await _gather([_come_back(address, cursor, start) for _ in range(clients)])
            live.cancel()
            text = await asyncio.to_thread(lambda: urllib.request.urlopen(address + "/metrics").read().decode())
            reads = EXPECTED.findall(text)[0]
        await database.close()
    print(f"\n{clients} clients come back within a second, each {MISSED} notes behind, while notes are published")
    print(row("from the first attempt until a client is live", [t for t, _ in times], "s"))
    print(f"  the last client: {max(t for t, _ in times):.2f} s; log queries: {float(reads):.0f}")
    fewest = min(notes for _, notes in times)
    if fewest < MISSED:
        sys.exit(f"a client received {fewest} of {MISSED} notes")


async def _gather(work: list) -> list:
    return await asyncio.gather(*work)


async def _come_back(address: str, cursor: int, start: float) -> tuple[float, int]:
    await asyncio.sleep(random.uniform(0, 1))
    while True:
        try:
            reader: Reader = await connect(address, f"/ws?after={cursor}")
            break
        except OSError:
            await asyncio.sleep(random.uniform(0, 0.5))
    await reader.caught_up
    took = time.perf_counter() - start
    return took, reader.notes


async def _live(database: asyncpg.Connection) -> None:
    for number in range(100_000):
        await database.execute("insert into note (username, body) values ('gb', $1)", f"live {number}")
        await asyncio.sleep(0.2)  # to thousands: more would measure how fast this process reads
