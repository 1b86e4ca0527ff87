"""Streams over plain HTTP beside the WebSocket: what a delivery costs the hub, and how many there are a second."""

import asyncio
import time

import asyncpg

from bench import usage
from bench.crowd import Reader, crowd, received
from bench.parts import hub, row

CLIENTS = 500
SINGLES, PAUSE = 300, 0.004
BURST, BURSTS = 100, 40
INSERT = "insert into note (username, body) select 'gb', repeat('x', 80) from generate_series(1, $1::int)"
STREAM = b"GET /listen_notes HTTP/1.1\r\nHost: localhost\r\n%b\r\n"
KINDS: dict[str, str | bytes] = {
    "WebSocket": "/ws",
    "lines of JSON": STREAM % b"",
    "server-sent events": STREAM % b"Accept: text/event-stream\r\n",
}


async def run(full: bool = False) -> None:
    """Print the table; the kinds take turns on one hub."""
    rounds = 7 if full else 3
    costs: dict[tuple[str, int], list[float]] = {}
    rates: dict[str, list[float]] = {}
    async with hub() as (address, url, process):
        database = await asyncpg.connect(url)
        for _ in range(rounds):
            for kind, ask in KINDS.items():
                async with crowd(address, [ask] * CLIENTS) as clients:
                    await asyncio.sleep(0.2)  # the end of the connecting
                    cost, _ = await _deliver(process.pid, database, clients, SINGLES, 1)
                    costs.setdefault((kind, 1), []).append(cost)
                    cost, rate = await _deliver(process.pid, database, clients, BURSTS, BURST)
                    costs.setdefault((kind, BURST), []).append(cost)
                    rates.setdefault(kind, []).append(rate)
        await database.close()
    print(f"\nTo {CLIENTS} clients, {rounds} rounds in turn (median, range)")
    for kind in KINDS:
        print(row(f"{kind}: CPU per delivery, one note every 4 ms", [each * 1e6 for each in costs[kind, 1]], "µs"))
    for kind in KINDS:
        print(row(f"{kind}: CPU per delivery, {BURST} in a statement", [c * 1e6 for c in costs[kind, BURST]], "µs"))
    for kind in KINDS:
        print(row(f"{kind}: deliveries a second, {BURST} in a statement", rates[kind], "/s"))


async def _deliver(
    pid: int, database: asyncpg.Connection, clients: list[Reader], inserts: int, batch: int
) -> tuple[float, float]:
    """Seconds of the hub's CPU per delivery, and deliveries a second."""
    had = clients[0].notes
    meter, start = usage.Meter(pid), time.perf_counter()
    for _ in range(inserts):
        await database.execute(INSERT, batch)
        if batch == 1:
            await asyncio.sleep(PAUSE)
    await received(clients, had + inserts * batch)
    count = inserts * batch * len(clients)
    return meter.seconds() / count, count / (time.perf_counter() - start)
