"""Publish → ack: alone, pipelined, by 200 at once; beside one INSERT per transaction over one connection."""

import asyncio
import re
import statistics
import time
from array import array
from collections.abc import Awaitable, Callable, Sequence

import asyncpg

from bench import usage
from bench.crowd import Reader, connect, received
from bench.parts import hub, row
from bench.publishers import Publisher, publishers

ROUNDS = 5
PIPELINED = 10_000
SINGLE = 1000
MANY = 200  # publishers that subscribe to nothing, beside one subscriber
WINDOW = 16  # notes of one publisher that wait for their acks
RATE = 20_000  # notes a second in all, however fast acks come
TICK = 0.001  # seconds between the looks at which notes are due
SECONDS = 4
STATEMENTS = "select count(distinct created_timestamp) from note"  # each transaction has its own now()
NOTE = re.compile(rb'"type":"note","seq":(\d+),[^}]*?"body":"p(\d+) (\d+)"')

Load = Callable[[list[Publisher]], Awaitable[None]]


async def run(full: bool = False) -> None:
    """Print the tables; what is compared takes turns on the same database."""
    await _one(ROUNDS * 3 if full else ROUNDS)
    await _many(5 if full else 3)


async def _one(rounds: int) -> None:
    async with hub() as (address, url, _), publishers(address, 1) as ((publisher,), delays):
        connection = await asyncpg.connect(url)
        single, pipelined, batches, ratios, lone = [], [], [], [], list[float]()
        for _ in range(rounds):
            single.append(await _inserts(connection))
            before = await connection.fetchval(STATEMENTS)
            pipelined.append(await _pipelined(publisher))
            batches.append(PIPELINED / (await connection.fetchval(STATEMENTS) - before))
            ratios.append(pipelined[-1] / single[-1])
            before = len(delays)
            await _alone(publisher)
            lone += delays[before:]
        await connection.close()
    print(f"\nNotes written per second, log and NOTIFY included, {rounds} rounds in turn (median, range)")
    print(row("one INSERT per transaction, one connection", single, "notes/s"))
    print(row("one publisher pipelining over one WebSocket, acks in order", pipelined, "notes/s"))
    print(row("ratio", ratios, "x"))
    print(row("notes in one statement", batches, "notes"))
    print(row("one publisher, one note at a time: publish → ack", [each * 1e3 for each in lone], "ms"))
    print(f"  {_tail(lone)}")


async def _inserts(connection: asyncpg.Connection) -> float:
    start = time.perf_counter()
    for number in range(SINGLE):
        await connection.execute("insert into note (username, body) values ('gb', $1)", str(number))
    return SINGLE / (time.perf_counter() - start)


async def _pipelined(publisher: Publisher) -> float:
    start = time.perf_counter()
    publisher.publish_all(publisher.sent + PIPELINED, PIPELINED)
    await publisher.done
    return PIPELINED / (time.perf_counter() - start)


async def _alone(publisher: Publisher) -> None:
    publisher.publish_all(publisher.sent + SINGLE, 1)
    await publisher.done


async def _many(rounds: int) -> None:
    loads: dict[str, Load] = {
        f"{WINDOW} in flight each": lambda all: _as_fast_as_acks(all, 5000),
        f"{RATE:,} a second": lambda all: _at_rate(all, RATE, SECONDS),
    }
    rates: dict[str, list[float]] = {name: [] for name in loads}
    waits: dict[str, list[list[float]]] = {name: [] for name in loads}
    cpu: dict[str, list[tuple[float, float]]] = {name: [] for name in loads}
    for _ in range(rounds):
        for name, load in loads.items():
            async with hub() as (address, _, process), publishers(address, MANY) as (all, delays):
                subscriber = await connect(address, "/ws", keep=True)
                meter, own, start = usage.Meter(process.pid), time.process_time(), time.perf_counter()
                await load(all)
                await received([subscriber], sum(each.acked for each in all))
                took = time.perf_counter() - start
                rates[name].append(subscriber.notes / took)
                cpu[name].append((100 * meter.seconds() / took, 100 * (time.process_time() - own) / took))
                waits[name].append(_percentiles(delays))
                _check(subscriber, all)
                subscriber.transport.abort()
    print(f"\n{MANY} publishers that subscribe to nothing, one subscriber that gets it all in order, {rounds} rounds")
    for name in loads:
        print(row(f"{name}: acknowledged and received", rates[name], "notes/s"))
        for label, values in zip(("p50", "p99", "p99.9"), zip(*waits[name], strict=True), strict=True):
            print(row(f"{name}: publish → ack, {label}", values, "ms"))
        print(row(f"{name}: CPU of the hub", [hub for hub, _ in cpu[name]], "% a core"))
        print(row(f"{name}: CPU of all clients", [clients for _, clients in cpu[name]], "% a core"))


async def _as_fast_as_acks(all: list[Publisher], notes: int) -> None:
    for each in all:
        each.publish_all(notes * 100 // MANY, WINDOW)
    await asyncio.gather(*(each.done for each in all))


async def _at_rate(all: list[Publisher], rate: int, seconds: float) -> None:
    """Each publisher in its turn; a note's wait counts from when it was due, so that a late load hides nothing."""
    start, sent, total = time.perf_counter(), 0, int(rate * seconds)
    while sent < total:
        until = min(total, int((time.perf_counter() - start) * rate))
        for number in range(sent, until):
            all[number % len(all)].publish(start + number / rate)
        sent = until
        await asyncio.sleep(TICK)
    async with asyncio.timeout(60):
        while any(each.acked < each.sent for each in all):
            await asyncio.sleep(TICK)


def _check(subscriber: Reader, all: list[Publisher]) -> None:
    """Every note of every publisher once, in its order, at rising positions."""
    last, counts = 0, [0] * len(all)
    for seq, publisher, number in NOTE.findall(b"".join(subscriber.kept)):
        assert int(seq) > last, "a note came out of order"
        assert int(number) == counts[int(publisher)], "a note is missing, came twice or came out of order"
        last, counts[int(publisher)] = int(seq), int(number) + 1
    assert counts == [each.acked for each in all], "a note was acknowledged and did not arrive"


def _percentiles(delays: Sequence[float]) -> list[float]:
    """p50, p99 and p99.9 in milliseconds."""
    cuts = statistics.quantiles(delays, n=1000)
    return [cuts[at] * 1e3 for at in (499, 989, 998)]


def _tail(delays: "array[float] | list[float]") -> str:
    p50, p99, _ = _percentiles(delays)
    return f"p50 {p50:.2f} ms, p99 {p99:.2f} ms"
