"""Ten thousand topics with two clients each, beside one topic: what a delivery costs the hub, beyond its idling.

Each of the 10,000 connections follows two topics, and each topic is followed by two of them. A note
costs something once (hearing it, encoding it) and something for each client, so it is compared with
one topic of as many clients as well as with one that all follow.
"""

import asyncio
import time

import asyncpg

from bench import usage
from bench.crowd import Reader, crowd
from bench.parts import hub, row

TOPICS = 10_000
PAUSE = 0.002  # seconds between notes one at a time, at least
EACH = 8e-6  # seconds of that for each delivery, so that none has to wait for the one before
SINGLES = 500
BURST = 100  # notes in one statement
BURSTS = 20
IDLE = 2.0  # seconds; as long as the hub's own rounds of its connections
INSERT = """
    insert into note (username, body, topic)
    select 'gb', repeat('x', 80), 't' || (n * 7919 % $3::int) from generate_series($1::int, $2::int) n
"""
ONE = "one topic, 2 clients"
SPREAD = f"{TOPICS:,} topics, 2 clients each"
ALL = f"one topic, {TOPICS:,} clients"


Running = tuple[str, str, asyncio.subprocess.Process]


def cases(spread: Running, one: Running) -> list[tuple[str, Running, list[str], int, int]]:
    """What is compared: its name, hub, clients' addresses, topics, and clients of a topic."""
    two_each = [f"/ws?topic=t{n}&topic=t{(n + 1) % TOPICS}" for n in range(TOPICS)]
    return [
        (ONE, one, ["/ws?topic=t0"] * 2, 1, 2),
        (SPREAD, spread, two_each, TOPICS, 2),
        (ALL, one, ["/ws?topic=t0"] * TOPICS, 1, TOPICS),
    ]


async def run(full: bool = False) -> None:
    """Print the table; the hubs run side by side and take turns."""
    rounds = 7 if full else 3
    kinds = [("one at a time", SINGLES, 1), (f"{BURST} in a statement", BURSTS * BURST, BURST)]
    costs: dict[tuple[str, str], list[float]] = {}
    async with hub() as spread, hub() as one:
        for _ in range(rounds):
            for name, running, paths, topics, each in cases(spread, one):
                async with crowd(running[0], paths) as clients:
                    await asyncio.sleep(1)  # the end of the connecting
                    idle = await _idle(running[2].pid)
                    for label, notes, batch in kinds:
                        notes = notes if each == 2 else max(batch, notes // 25)
                        cost = await _cost(running, clients, topics, notes, batch, each, idle)
                        costs.setdefault((name, label), []).append(cost)
    print(f"\nThe hub's CPU per delivery, {rounds} rounds in turn (median, range)")
    for label, _, _ in kinds:
        for name in (ONE, SPREAD, ALL):
            print(row(f"{label}: {name}", [each * 1e6 for each in costs[name, label]], "µs"))
        ratios = [many / few for many, few in zip(costs[SPREAD, label], costs[ONE, label], strict=True)]
        print(row(f"{label}: {TOPICS:,} topics, times one of 2 clients", ratios, "x"))


async def _idle(pid: int) -> float:
    """The hub's CPU, in cores, while nothing comes: looking after its connections is no part of a delivery."""
    meter = usage.Meter(pid)
    await asyncio.sleep(IDLE)
    return meter.seconds() / IDLE


async def _cost(
    hub: Running, clients: list[Reader], topics: int, notes: int, batch: int, each: int, idle: float
) -> float:
    """Seconds of the hub's CPU per delivery. Raises if a client gets one too few or too many."""
    _, url, process = hub
    database = await asyncpg.connect(url)
    before = sum(client.notes for client in clients)
    meter, start = usage.Meter(process.pid), time.perf_counter()
    for first in range(0, notes, batch):
        await database.execute(INSERT, first, first + batch - 1, topics)
        if batch == 1:
            await asyncio.sleep(max(PAUSE, EACH * each))
    async with asyncio.timeout(60):
        while (came := sum(client.notes for client in clients) - before) < notes * each:
            await asyncio.sleep(0.01)
    assert came == notes * each, f"{came} deliveries instead of {notes * each}"
    spent = meter.seconds() - idle * (time.perf_counter() - start)
    await database.close()
    return spent / came
