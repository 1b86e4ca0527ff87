"""Publish → ack over one WebSocket, beside one INSERT per transaction over one connection."""

import re
import time

import asyncpg

from bench.parts import RawClient, hub, masked, raw_client, row

ROUNDS = 5
PIPELINED = 10_000
SINGLE = 1000
STATEMENTS = "select count(distinct created_timestamp) from note"  # each transaction has its own now()


async def run() -> None:
    """Print the table; the two take turns on the same database."""
    async with hub() as (address, url, _), raw_client(address, "/ws?topic=") as client:
        connection = await asyncpg.connect(url)
        single, pipelined, batches = [], [], []
        for _ in range(ROUNDS):
            single.append(await _single(connection))
            before = await connection.fetchval(STATEMENTS)
            pipelined.append(await _pipelined(client))
            batches.append(PIPELINED / (await connection.fetchval(STATEMENTS) - before))
        await connection.close()
    ratios = [fast / slow for fast, slow in zip(pipelined, single, strict=True)]
    print(f"\nNotes written per second, log and NOTIFY included, {ROUNDS} rounds in turn (median, range)")
    print(row("one INSERT per transaction, one connection", single, "notes/s"))
    print(row("one publisher pipelining over one WebSocket, acks in order", pipelined, "notes/s"))
    print(row("ratio", ratios, "x"))
    print(row("notes in one statement", batches, "notes"))


async def _single(connection: asyncpg.Connection) -> float:
    start = time.perf_counter()
    for number in range(SINGLE):
        await connection.execute("insert into note (username, body) values ('gb', $1)", str(number))
    return SINGLE / (time.perf_counter() - start)


async def _pipelined(client: RawClient) -> float:
    notes = (f'{{"username":"gb","body":"note {number}","id":{number}}}' for number in range(PIPELINED))
    frames = [masked(note.encode()) for note in notes]
    start = time.perf_counter()
    client.writer.write(b"".join(frames))
    data = b""
    while data.count(b"}") < PIPELINED:
        data += await client.reader.read(1 << 16)
    took = time.perf_counter() - start
    acks = re.findall(rb'"type":"ack","id":(\d+)', data)
    assert acks == [b"%d" % number for number in range(PIPELINED)], "an ack is missing or out of order"
    return PIPELINED / took
