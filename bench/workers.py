"""One worker beside two: deliveries per second, what each costs, and how many clients a second get in."""

import statistics
import time
from typing import NamedTuple

import asyncpg

from bench.fanout import connected
from bench.load import Load, clients, now
from bench.parts import cpu, embedded_database, serving
from bench.systems import INSERT, body

CLIENTS = 1000
ROUNDS = 3
SECONDS = 2.0
BURSTS = {"single notes": 1, "bursts of ten": 10}


class Pace(NamedTuple):
    """What was reached in one round."""

    deliveries: float  # a second
    cost: float  # µs of CPU for each, of all processes of the hub
    p99: float  # ms


async def run(full: bool = False) -> None:
    """Print the table. The load and Postgres share the cores with the workers."""
    paces: dict[tuple[int, str], list[Pace]] = {}
    connects: dict[int, list[float]] = {1: [], 2: []}
    async with embedded_database() as url, connected(url) as database:
        for _ in range(ROUNDS):
            for workers in (1, 2):
                async with serving(url, workers=workers) as (address, process):
                    start = time.perf_counter()
                    async with clients(int(address.rpartition(":")[2]), "/ws", "ws", CLIENTS) as load:
                        connects[workers].append(CLIENTS / (time.perf_counter() - start))
                        for name, burst in BURSTS.items():
                            found = await _measure(database, load, process.pid, burst)
                            paces.setdefault((workers, name), []).append(found)
    print(f"\n--workers 1 and 2 on all cores of this machine, {CLIENTS:,} clients; {ROUNDS} rounds (median)")
    print("  {:<26}{:>14}{:>12}{:>10}".format("", "deliveries/s", "µs each", "p99 ms"))
    for (workers, name), rounds in paces.items():
        middle = Pace(*(statistics.median(column) for column in zip(*rounds, strict=True)))
        print(f"  {workers}, {name:<23}{middle.deliveries:>14,.0f}{middle.cost:>12.2f}{middle.p99:>10.1f}")
    for workers, values in connects.items():
        print(f"  {workers}, connects: {statistics.median(values):,.0f}/s")


async def _measure(database: asyncpg.Connection, load: Load, pid: int, burst: int) -> Pace:
    """Notes as fast as all clients have them, at most two bursts ahead."""
    await load.start()
    before, start, notes = cpu(pid), now(), 0
    while now() - start < SECONDS * 1e9:
        await database.execute(INSERT, [body(now() + number) for number in range(burst)])
        notes += burst
        await load.all_have(notes - 2 * burst)
    await load.all_have(notes)
    count = await load.count()
    if wrong := count.wrong(load.clients, notes):
        raise SystemExit(f"workers: {wrong}")
    spent, took = cpu(pid) - before, count.finished - start
    return Pace(count.deliveries / took * 1e9, spent / count.deliveries / 1e3, count.p99 / 1e6)
