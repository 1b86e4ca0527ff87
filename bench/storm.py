"""Thousands of clients lose the hub and come back with their cursors within a second."""

import asyncio
import random
import re
import statistics
import sys
import time
import urllib.request

import asyncpg

from bench.crowd import Reader, connect, crowd
from bench.parts import embedded_database, row, serving

CLIENTS = 5000
MISSED = 200  # notes committed while the hub is away
LOG_READS = re.compile(r"^hub_log_reads_total (\S+)", re.MULTILINE)
INSERT = "insert into note (username, body) select 'gb', n::text from generate_series(1, $1) n"


async def run(full: bool = False) -> None:
    """Print the table. Every client must get exactly what it missed."""
    clients = CLIENTS * (2 if full else 1)
    async with embedded_database() as url:
        database = await asyncpg.connect(url)
        async with serving(url) as (address, process):
            await database.execute("insert into note (username, body) values ('gb', 'first')")
            async with crowd(address, ["/ws?last=1"] * clients) as before:
                process.kill()
                await asyncio.gather(*(each.lost for each in before))
        cursor = await database.fetchval("select max(seq) from note_event")
        await database.execute(INSERT, MISSED)
        async with serving(url) as (address, _):
            live = asyncio.ensure_future(_live(database))
            start = time.perf_counter()
            times = await asyncio.gather(*(_come_back(address, cursor, start) for _ in range(clients)))
            live.cancel()
            text = await asyncio.to_thread(lambda: urllib.request.urlopen(address + "/metrics").read().decode())
            reads = sum(map(float, LOG_READS.findall(text)))
        await database.close()
    seconds, fewest = [t for t, _ in times], min(notes for _, notes in times)
    print(f"\n{clients:,} clients come back within a second, each {MISSED} notes behind, while notes are published")
    print(row("from the first attempt until a client is live", seconds, "s"))
    print(f"    p99 {statistics.quantiles(seconds, n=100)[98]:.2f} s; queries of the log: {reads:.0f}")
    if fewest < MISSED:
        sys.exit(f"storm: a client received {fewest} of {MISSED} notes")


async def _come_back(address: str, cursor: int, start: float) -> tuple[float, int]:
    await asyncio.sleep(random.uniform(0, 1))
    while True:
        try:
            reader: Reader = await connect(address, f"/ws?after={cursor}")
            break
        except OSError:
            await asyncio.sleep(random.uniform(0, 0.5))
    await reader.caught_up
    return time.perf_counter() - start, reader.notes


async def _live(database: asyncpg.Connection) -> None:
    for number in range(100_000):
        await database.execute("insert into note (username, body) values ('gb', $1)", f"live {number}")
        await asyncio.sleep(0.2)  # to thousands: more would measure how fast this process reads
