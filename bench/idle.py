"""Ten thousand WebSockets that do nothing: how quickly they are there, and what each of them costs the hub."""

import asyncio
import time

import asyncpg

from bench import usage
from bench.crowd import Reader, crowd, received
from bench.parts import hub, row

CLIENTS = 10_000
SECONDS = 25  # of idling: a whole round of pings


async def run(full: bool = False) -> None:
    """Print the table. At the end every client must get a note: all of them were connected."""
    rates, rss, pss, connecting, idling = list[float](), list[float](), list[float](), list[float](), list[float]()
    for _ in range(3 if full else 1):
        async with hub() as (address, url, process):
            async with crowd(address, ["/ws"] * 100):
                await asyncio.sleep(0.5)  # what only the first clients cost is not each one's
            before, meter, start = usage.memory(process.pid), usage.Meter(process.pid), time.perf_counter()
            async with crowd(address, ["/ws"] * CLIENTS) as clients:
                rates.append(CLIENTS / (time.perf_counter() - start))
                connecting.append(meter.seconds() / CLIENTS * 1e6)
                await asyncio.sleep(1)
                meter, after = usage.Meter(process.pid), usage.memory(process.pid)
                rss.append((after.rss - before.rss) / CLIENTS / 1024)
                pss.append((after.pss - before.pss) / CLIENTS / 1024)
                await asyncio.sleep(SECONDS)
                idling.append(meter.seconds() / SECONDS * 60 / CLIENTS * 1e6)
                await _all_hear(url, clients)
    print(f"\n{CLIENTS:,} idle WebSockets ({len(rates)} rounds)")
    print(row("connects per second, each with its welcome", rates, "/s"))
    print(row("the hub's CPU per connect", connecting, "µs"))
    print(row("the hub's memory per connection, resident (RSS)", rss, "KB"))
    print(row("the hub's memory per connection, its share (PSS)", pss, "KB"))
    print(row("the hub's CPU per connection and minute, pings included", idling, "µs"))


async def _all_hear(url: str, clients: list[Reader]) -> None:
    database = await asyncpg.connect(url)
    await database.execute("insert into note (username, body) values ('gb', 'are you all there?')")
    await received(clients, 1)
    await database.close()
