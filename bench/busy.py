"""The way back to hearing the database while many clients read from it: how long a note and ``/readyz`` then take."""

import asyncio
import contextlib
import itertools
import statistics
import time

import aiohttp
import asyncpg

from bench.parts import embedded_database, row, serving
from hub.postgres import migrations

READERS = 40
EVENTS, ROUNDS = 300_000, 10
READS = ("/notes?topic=*&after=0&limit=200", "/notes?topic=nothing&limit=200", "/notes?topic=*&limit=200", "/readyz")
KILL = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'notes-hub listener'"
FILL = """
    alter table note disable trigger note_log_row;
    insert into note (topic, username, body) select 'most', 'gb', n::text from generate_series(1, $n) n;
    alter table note enable trigger note_log_row;
    insert into note_event (seq, op, rowid, topic) select rowid, 'insert', rowid, topic from note;
    select setval('note_seq', max(seq)) from note_event;
    vacuum analyze note, note_event
"""


async def run(full: bool = False) -> None:
    """Print the table."""
    events, rounds = (1_000_000, 30) if full else (EVENTS, ROUNDS)
    heard, ready, said = [], [], set()
    async with embedded_database() as url:
        database = await asyncpg.connect(url)
        await migrations.migrate(database)
        for statement in FILL.replace("$n", str(events)).split(";"):
            await database.execute(statement)
        async with (
            serving(url) as (address, _),
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http,
            http.ws_connect(address + "/ws?topic=*", max_msg_size=0) as client,
        ):
            readers = [asyncio.ensure_future(_read(http, address, number)) for number in range(READERS)]
            await asyncio.sleep(1)
            for number in range(rounds):
                await database.execute(KILL)
                await database.execute("insert into note (username, body) values ('gb', $1)", f"round {number}")
                start = time.perf_counter()
                while f"round {number}" not in await client.receive_str(timeout=60):
                    pass
                heard.append(time.perf_counter() - start)
                start = time.perf_counter()
                async with http.get(address + "/readyz") as reply:
                    said.add((await reply.json())["status"])
                ready.append(time.perf_counter() - start)
                await asyncio.sleep(0.3)
            for reader in readers:
                reader.cancel()
            counts = await asyncio.gather(*readers, return_exceptions=True)
        await database.close()
    answers = statistics.mean(count for count in counts if isinstance(count, int))
    print(
        f"\nThe listener is ended beside {READERS} clients that read in a loop from {events:,} events; {rounds} rounds"
    )
    print(row("first note", heard, "s"))
    print(row(f"/readyz, which said {', '.join(sorted(said))}", ready, "s"))
    print(f"  answers to each reader: {answers:,.0f}")


async def _read(http: aiohttp.ClientSession, address: str, number: int) -> int:
    """Read in a loop until cancelled; returns how many answers came."""
    answers = 0
    with contextlib.suppress(asyncio.CancelledError):
        for read in itertools.cycle(READS[number % len(READS) :] + READS[: number % len(READS)]):
            async with http.get(address + read) as reply:
                await reply.read()
                answers += reply.status == 200
    return answers
