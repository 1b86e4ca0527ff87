"""One client that stops reading, beside many that read: what it costs them and the hub."""

import asyncio
import re
import sys
import time
from pathlib import Path

import asyncpg

from bench.crowd import Reader, connect
from bench.parts import embedded_database, row, serving

READERS = 200
NOTES = 100_000
BATCH = 500
INSERT = "insert into note (username, body) select 'gb', repeat('x', 40) || n from generate_series($1::int, $2::int) n"


async def run(notes: int = NOTES) -> None:
    """Print the table: the same load with and without the stalled client, in turn."""
    rates: dict[bool, list[float]] = {False: [], True: []}
    memory: dict[bool, list[float]] = {False: [], True: []}
    for stalled in (False, True, True, False):
        async with embedded_database() as url, serving(url, "--stall-timeout", "600") as (address, process):
            rate, used = await _load(address, url, process.pid, stalled, notes)
            rates[stalled].append(rate)
            memory[stalled].append(used)
    print(f"\n{notes:,} notes to {READERS} clients that read, without and with one that does not (two runs each)")
    print(row("deliveries per second, without", rates[False], "/s"))
    print(row("deliveries per second, with", rates[True], "/s"))
    print(row("the hub's peak memory, without", memory[False], "MB"))
    print(row("the hub's peak memory, with", memory[True], "MB"))


async def _load(address: str, url: str, pid: int, stalled: bool, notes: int) -> tuple[float, float]:
    crowd = await asyncio.gather(*(connect(address, "/ws") for _ in range(READERS)))
    slow = await connect(address, "/ws", keep=True) if stalled else None
    if slow and slow.transport:
        slow.transport.pause_reading()
    database = await asyncpg.connect(url)
    start = time.perf_counter()
    for first in range(0, notes, BATCH):
        await database.execute(
            INSERT,
            first,
            first + BATCH - 1,
        )
    await _all(crowd, notes)
    took = time.perf_counter() - start
    await database.close()
    peak = int(re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[0]) / 1024
    if slow and slow.transport:
        slow.transport.resume_reading()
        await _all([slow], notes)
        bodies = re.findall(rb'"body":"x{40}(\d+)"', b"".join(slow.kept))
        if bodies != [b"%d" % number for number in range(notes)]:
            sys.exit("the stalled client did not receive every note in order")
    for each in (*crowd, *([slow] if slow else [])):
        if each.transport:
            each.transport.abort()
    return READERS * notes / took, peak


async def _all(crowd: list[Reader], notes: int) -> None:
    async with asyncio.timeout(300):
        while any(each.notes < notes for each in crowd):
            await asyncio.sleep(0.02)
