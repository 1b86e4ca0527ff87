"""What `check` finds in a database, and in which words."""

from pathlib import Path

import asyncpg
import pytest

from hub.postgres import check
from hub.postgres.check import Finding, log_state
from hub.postgres.store import LogState, Store

SECOND = 1_000_000


async def look(url: str) -> list[Finding]:
    connection, store = await asyncpg.connect(url), Store(url, 1)
    await store.open()
    try:
        return await check.run(connection, store)
    finally:
        await store.close()
        await connection.close()


def wrong(found: list[Finding], word: str) -> bool:
    """Whether just one thing is wrong, and its line has this word."""
    texts = [finding.text for finding in found if not finding.fine]
    return len(texts) == 1 and word in texts[0]


async def durable(database: asyncpg.Connection) -> None:
    """The server of the tests is set up without durability; that is not what they are about."""
    name = await database.fetchval("select current_database()")
    await database.execute(f"alter database {name} set synchronous_commit = on")


async def test_healthy(url: str, database: asyncpg.Connection) -> None:
    """Of a database as it should be everything is fine: version, schema, triggers, LISTEN, clock, queue."""
    await durable(database)
    found = await look(url)
    assert all(finding.fine for finding in found), found
    text = "\n".join(finding.text for finding in found)
    assert all(word in text for word in ("Postgres", "schema", "note_log_row", "LISTEN", "clock", "queue"))


async def test_reads_only(url: str, database: asyncpg.Connection) -> None:
    """Looking changes nothing: neither note nor log, nor the sequence."""
    await database.execute("insert into note (username, body) values ('gb', 'x')")
    tables = "select (select count(*) from note), (select count(*) from note_event), last_value from note_seq"
    before = await database.fetchrow(tables)
    await look(url)
    assert await database.fetchrow(tables) == before


@pytest.mark.parametrize("trigger", check.TRIGGERS)
async def test_a_trigger_that_is_off(url: str, database: asyncpg.Connection, trigger: str) -> None:
    """A disabled trigger is named with the statement that turns it on, and that statement does."""
    await durable(database)
    await database.execute(f"alter table note disable trigger {trigger}")
    found = await look(url)
    assert wrong(found, f"alter table note enable trigger {trigger}")
    await database.execute(f"alter table note enable trigger {trigger}")
    assert all(finding.fine for finding in await look(url))


async def test_no_schema(empty_url: str) -> None:
    """A database without the schema is told how to get it, and nothing further is looked at."""
    found = await look(empty_url)
    assert wrong(found, "notes-hub migrate") and not any("trigger" in finding.text for finding in found)


async def test_privileges(url: str, database: asyncpg.Connection) -> None:
    """A role that may not publish is told what its owner can grant."""
    await durable(database)
    await database.execute("create role reader login; grant select on all tables in schema public to reader")
    await database.execute("grant usage, select on all sequences in schema public to reader")
    try:
        found = await look(url.replace("postgres@", "reader@"))
        assert wrong(found, "grant execute on function note_publish")
    finally:
        await database.execute("drop owned by reader; drop role reader")


async def test_no_durability(url: str, database: asyncpg.Connection) -> None:
    """A database that may lose acknowledged notes is said to."""
    name = await database.fetchval("select current_database()")
    await database.execute(f"alter database {name} set synchronous_commit = off")
    assert wrong(await look(url), "synchronous_commit")


async def test_a_clock_behind_the_log(url: str, database: asyncpg.Connection) -> None:
    """A log that is ahead of the server's clock is told, with by how much."""
    await durable(database)
    await database.execute(
        "select setval('note_seq', (extract(epoch from clock_timestamp()) * 1e6)::bigint + 90 * 1000000)"
    )
    assert wrong(await look(url), "clock is 90 s behind") or wrong(await look(url), "clock is 89 s behind")


async def test_it_names_its_database(url: str, database: asyncpg.Connection) -> None:
    """The first line says which database was looked at, and where."""
    name = await database.fetchval("select current_database()")
    first = (await look(url))[0].text
    assert f"{name} on /" in first and first.endswith(".s.PGSQL.5432")


async def mended(url: str, database: asyncpg.Connection, *words: str) -> None:
    """Check finds something wrong for each of these words, and after the statements that it says, nothing."""
    texts = [finding.text for finding in await look(url) if not finding.fine]
    assert len(texts) == len(words) and all(word in text for word, text in zip(words, texts, strict=True)), texts
    for text in texts:
        await database.execute(text.partition("Run: ")[2])
    assert all(finding.fine for finding in await look(url))


async def test_notes_past_the_triggers(url: str, database: asyncpg.Connection) -> None:
    """Notes that a replica role wrote are counted, and what check says puts them into the log; pruned ones are fine."""
    await durable(database)
    await database.execute("insert into note (username, body) values ('gb', 'pruned')")
    await database.execute("select note_prune(now() + interval '1 minute', 10)")
    await database.execute(
        "set session_replication_role = replica; insert into note (username, body) values ('gb', 'a'), ('gb', 'b');"
        " set session_replication_role = origin"
    )
    await mended(url, database, "2 of the newest 1,000 notes")
    assert await database.fetchval("select count(*) from note_event") == 2


async def test_a_replica_role(url: str, database: asyncpg.Connection) -> None:
    """A database or a role whose sessions are replicas is named, with the statement that ends it."""
    await durable(database)
    name = await database.fetchval("select current_database()")
    role = f"copier_{name}"
    await database.execute(
        f"create role {role}; alter role {role} in database {name} set session_replication_role = replica;"
        f" alter database {name} set session_replication_role = replica"
    )
    try:
        texts = [finding.text for finding in await look(url) if not finding.fine]
        assert len(texts) == 2 and all("Run: alter" in text for text in texts), texts
        for text in texts:
            await database.execute(text.partition("Run: ")[2])
        assert all(finding.fine for finding in await look(url))
    finally:
        await database.execute(f"drop role {role}")


async def test_a_child_table(url: str, database: asyncpg.Connection) -> None:
    """A table that inherits from note is named: its rows are seen in note, but no trigger hears of them."""
    await durable(database)
    await database.execute("create table child () inherits (note)")
    await mended(url, database, "child")


async def test_a_log_past_the_end(url: str, database: asyncpg.Connection) -> None:
    """A log whose numbers no client can hold is told, and what the documents say numbers it anew."""
    await durable(database)
    await database.execute("select setval('note_seq', $1)", 2**53)
    await database.execute("insert into note (username, body) values ('gb', 'x')")
    assert wrong(await look(url), "2^53")
    remedy = Path("docs/guarantees.md").read_text().partition("    BEGIN;")
    await database.execute(remedy[1] + remedy[2].partition("    COMMIT;")[0] + "COMMIT;")
    assert all(finding.fine for finding in await look(url))
    await database.execute("insert into note (username, body) values ('gb', 'y')")
    seqs = [row["seq"] for row in await database.fetch("select seq from note_event")]
    assert len(seqs) == 1 and await database.fetchval("select floor from note_log") < seqs[0] < 2**52


def test_log_state() -> None:
    """The clock may be a second off; the notify queue is fine up to its half."""
    clock = 1_000_000 * SECOND
    for last, usage, fine in (
        (clock, 0.0, [True, True]),
        (0, 0.49, [True, True]),
        (clock + SECOND // 2, 0.5, [True, False]),
        (clock + 2 * SECOND, 0.99, [False, False]),
    ):
        assert [finding.fine for finding in log_state(LogState(last, usage, last, False), clock)] == fine
    assert (
        "pg_stat_activity" in log_state(LogState(0, 0.75, 0, False), clock)[1].text
        and "75%" in log_state(LogState(0, 0.75, 0, False), clock)[1].text
    )
