"""Rows that others insert, one commit each, to many clients: how many a second before they come late.

Owns the search for that rate. A step holds a rate for some seconds; it counts as sustained when as
many rows were committed as should have been, every client got each of them, and 99 of 100 deliveries
came within the time limit, counted from before the INSERT. The one writer does not wait for its disk
(`synchronous_commit = off`), or it would be the speed of that which is found.
"""

import sys
import time
from typing import NamedTuple

import asyncpg

from bench import load
from bench.parts import hub, row
from bench.systems import PADDING

LATEST = 100.0  # ms
KEPT_UP = 0.98  # of the rate that was asked for
PUBLISHED = {500: 64, 5000: 10}  # changes a second that Supabase publishes for as many clients
FIRST = {500: 2000, 5000: 100}  # changes a second to begin with
STEP = 1.6
FINE_STEP = 1.25  # in the long run
TRIES = 2  # of a step: one slow write to the disk says nothing of the hub
# The mark is CLOCK_MONOTONIC, as the load reads it; Postgres has the time of day only, `ahead` ns before it.
WRITER = """
    create procedure write_notes(rate float, total int, ahead bigint, head text, tail text) language plpgsql as $$
    declare
        start timestamptz := clock_timestamp();
        wait float;
        now bigint;
    begin
        for number in 0..total - 1 loop
            wait := number / rate - extract(epoch from clock_timestamp() - start);
            if wait > 0 then perform pg_sleep(wait); end if;
            now := (extract(epoch from clock_timestamp()) * 1e6)::bigint * 1000 - ahead;
            insert into note (username, body) values ('gb', head || lpad(now::text, 20, '0') || tail);
            commit;
        end loop;
    end
    $$
"""


class Held(NamedTuple):
    """One step: changes a second, asked for and committed; ms until clients had them."""

    rate: float
    committed: float
    p50: float
    p99: float

    @property
    def sustained(self) -> bool:
        """Whether that is a rate that the hub can be asked for."""
        return self.committed >= KEPT_UP * self.rate and self.p99 < LATEST


async def run(full: bool = False) -> None:
    """Print the table. Ends the program when a delivery is lost."""
    seconds, step, rounds = (5.0, FINE_STEP, 3) if full else (2.0, STEP, 1)
    print("\nRows inserted, one commit each, to many clients: the highest rate at p99 < 100 ms")
    for number, published in PUBLISHED.items():
        best = [await _highest(number, seconds, step) for _ in range(rounds)]
        print(row(f"{number:,} clients: changes a second, sustained", [each.committed for each in best], "/s"))
        print(row(f"{number:,} clients: row committed → frame received, p50", [each.p50 for each in best], "ms"))
        print(row(f"{number:,} clients: row committed → frame received, p99", [each.p99 for each in best], "ms"))
        print(row(f"{number:,} clients: times Supabase's {published}", [e.committed / published for e in best], "x"))


async def _highest(number: int, seconds: float, step: float) -> Held:
    """The last step that was sustained; all zeros if even the first was not."""
    best, rate = Held(0, 0, 0, 0), float(FIRST[number])
    async with hub() as (address, url, _):
        writer = await asyncpg.connect(url, server_settings={"synchronous_commit": "off"})
        await writer.execute(WRITER)
        async with load.clients(int(address.rpartition(":")[2]), "/ws", "ws", number) as clients:
            await _hold(clients, writer, rate, 0.5)  # plans are made, caches fill
            missed = 0
            while missed < TRIES:
                held = await _hold(clients, writer, rate, seconds)
                if held.sustained:
                    best, rate, missed = held, rate * step, 0
                else:
                    missed += 1
        await writer.close()
    return best


async def _hold(clients: load.Load, writer: asyncpg.Connection, rate: float, seconds: float) -> Held:
    await clients.start()
    start, total = time.perf_counter(), int(rate * seconds)
    ahead = time.time_ns() - load.now()
    await writer.execute(f"call write_notes({rate}, {total}, {ahead}, '{load.MARK}', '{PADDING}')")
    committed = total / (time.perf_counter() - start)
    await clients.all_have(total, 60)
    count = await clients.count()
    if wrong := count.wrong(clients.clients, total):
        sys.exit(f"rows: {clients.clients} clients at {rate:,.0f} changes/s: {wrong}")
    return Held(rate, committed, count.p50 / 1e6, count.p99 / 1e6)
