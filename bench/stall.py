"""One client that stops reading, beside many that read: what it costs them and the hub."""

import re
import sys
import time

import asyncpg

from bench import usage
from bench.crowd import connect, crowd, received
from bench.parts import embedded_database, row, serving

READERS = 200
NOTES = 100_000
BATCH = 500
INSERT = "insert into note (username, body) select 'gb', repeat('x', 40) || n from generate_series($1::int, $2::int) n"


async def run(full: bool = False) -> None:
    """Print the table: the same load with and without the stalled client, in turn."""
    rates: dict[bool, list[float]] = {False: [], True: []}
    memory: dict[bool, list[float]] = {False: [], True: []}
    order = (False, True, True, False) * (2 if full else 1)
    for stalled in order:
        async with embedded_database() as url, serving(url, "--stall-timeout", "600") as (address, process):
            rate, used = await _load(address, url, process.pid, stalled)
            rates[stalled].append(rate)
            memory[stalled].append(used)
    runs = len(order) // 2
    print(f"\n{NOTES:,} notes to {READERS} clients that read, without and with one that does not ({runs} runs each)")
    print(row("deliveries per second, without", rates[False], "/s"))
    print(row("deliveries per second, with", rates[True], "/s"))
    print(row("the hub's peak memory, without", memory[False], "MB"))
    print(row("the hub's peak memory, with", memory[True], "MB"))


async def _load(address: str, url: str, pid: int, stalled: bool) -> tuple[float, float]:
    """Deliveries per second, and the hub's peak memory in MB."""
    async with crowd(address, ["/ws"] * READERS) as readers:
        slow = await connect(address, "/ws", keep=True) if stalled else None
        if slow:
            slow.transport.pause_reading()
        database = await asyncpg.connect(url)
        start = time.perf_counter()
        for first in range(0, NOTES, BATCH):
            await database.execute(INSERT, first, first + BATCH - 1)
        await received(readers, NOTES)
        took = time.perf_counter() - start
        await database.close()
        peak = usage.peak(pid) / (1 << 20)
        if slow:
            slow.transport.resume_reading()
            await received([slow], NOTES)
            bodies = re.findall(rb'"body":"x{40}(\d+)"', b"".join(slow.kept))
            if bodies != [b"%d" % number for number in range(NOTES)]:
                sys.exit("stall: the client that had stopped did not receive every note in order")
            slow.transport.abort()
    return READERS * NOTES / took, peak
