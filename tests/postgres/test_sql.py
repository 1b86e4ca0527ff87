"""The triggers and functions of ``sql/``, as any program that writes to the database meets them."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

INSERT = "insert into note (username, body) values ('gb', $1)"


@asynccontextmanager
async def notifications(url: str) -> AsyncIterator["asyncio.Queue[dict[str, Any]]"]:
    """What a bare listener hears on the channel."""
    heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    connection = await asyncpg.connect(url)
    await connection.add_listener("channel_note", lambda *arguments: heard.put_nowait(json.loads(arguments[3])))
    try:
        yield heard
    finally:
        await connection.close()


async def next_of(heard: "asyncio.Queue[dict[str, Any]]") -> dict[str, Any]:
    async with asyncio.timeout(5):
        return await heard.get()


async def log(database: asyncpg.Connection) -> list[tuple[str, int | None, str | None]]:
    rows = await database.fetch("select op, rowid, topic from note_event order by seq")
    return [tuple(row) for row in rows]


async def test_payload(url: str, database: asyncpg.Connection) -> None:
    """The payload has the row's own columns at the top level, as the original's had, and seq, prev, op."""
    async with notifications(url) as heard:
        await database.execute("set timezone = 'Asia/Kolkata'")
        await database.execute(INSERT, 'say "hi" \\ é')
        payload = await next_of(heard)
    row = dict(await database.fetchrow("select * from note"))
    assert set(payload) == {*row, "seq", "prev", "op"}
    assert payload["created_timestamp"].endswith("+00:00")
    assert (payload["rowid"], payload["username"], payload["body"]) == (1, "gb", 'say "hi" \\ é')
    assert (payload["topic"], payload["key"], payload["op"], payload["prev"]) == ("lobby", None, "insert", 0)
    assert payload["seq"] == await database.fetchval("select seq from note_event")


async def test_payloads_are_a_chain(url: str, database: asyncpg.Connection) -> None:
    """Each payload's prev is the seq of the one before, whatever happened."""
    async with notifications(url) as heard:
        await database.execute("insert into note (username, body) select 'gb', n from generate_series(1, 5) n")
        await database.execute("update note set body = 'x' where rowid = 1")
        await database.execute("update note set topic = 'y' where rowid = 2")
        await database.execute("delete from note where rowid = 3")
        await database.execute("truncate note")
        payloads = [await next_of(heard) for _ in range(10)]
    assert [payload["prev"] for payload in payloads] == [0, *(payload["seq"] for payload in payloads[:-1])]
    ops = [payload["op"] for payload in payloads]
    assert ops == ["insert"] * 5 + ["update", "delete", "insert", "delete", "truncate"]
    assert [(payload["rowid"], payload["topic"]) for payload in payloads[5:9]] == [
        (1, "lobby"),
        (2, "lobby"),
        (2, "y"),
        (3, "lobby"),
    ]


async def test_log(database: asyncpg.Connection) -> None:
    """Every change is one entry; a change of topic or rowid is a deletion there and an insertion here."""
    await database.execute(INSERT, "a")
    await database.execute("update note set body = 'b'")
    await database.execute("update note set topic = 'other'")
    await database.execute("update note set rowid = 7")
    await database.execute("delete from note")
    await database.execute("truncate note")
    assert await log(database) == [
        ("insert", 1, "lobby"),
        ("update", 1, "lobby"),
        ("delete", 1, "lobby"),
        ("insert", 1, "other"),
        ("delete", 1, "other"),
        ("insert", 7, "other"),
        ("delete", 7, "other"),
        ("truncate", None, None),
    ]


async def test_a_huge_row(url: str, database: asyncpg.Connection) -> None:
    """A row that no notification can hold is inserted all the same, and announced without its columns."""
    await database.execute("alter table note alter body type text")
    async with notifications(url) as heard:
        await database.execute(INSERT, "x" * 10_000)
        payload = await next_of(heard)
        assert set(payload) == {"rowid", "topic", "seq", "prev", "op"} and payload["rowid"] == 1
        for length in range(7600, 7900, 7):  # around the border, where the payload is just short enough
            await database.execute(INSERT, "é" * (length // 2))
            assert (await next_of(heard))["op"] == "insert"


async def test_updated_timestamp(database: asyncpg.Connection) -> None:
    """A change sets updated_timestamp, whatever the statement says, and leaves the other alone."""
    await database.execute(
        "insert into note (username, body, created_timestamp, updated_timestamp)"
        " values ('gb', 'a', '2000-01-01', '2000-01-01')"
    )
    assert await database.fetchval("select created_timestamp = updated_timestamp from note")
    await database.execute("update note set body = 'b', updated_timestamp = '1999-01-01'")
    assert await database.fetchval("select updated_timestamp > now() - interval '1 minute' from note")
    assert await database.fetchval("select created_timestamp from note where created_timestamp = '2000-01-01'")


async def test_seq_is_the_order_of_commits(url: str) -> None:
    """Under many writers with rollbacks and savepoints, whoever sees a seq sees all lower ones for ever.

    A reader polls the log after the highest seq that it saw: it must find every entry, none below its cursor.
    """
    choose = random.Random(1)
    seen: list[int] = []
    done = asyncio.Event()

    async def write() -> None:
        connection = await asyncpg.connect(url)
        for _ in range(25):
            transaction = connection.transaction()
            await transaction.start()
            for _ in range(choose.randrange(1, 4)):
                await connection.execute(INSERT, "x")
                if choose.random() < 0.3:
                    savepoint = connection.transaction()
                    await savepoint.start()
                    await connection.execute("update note set body = 'y' where rowid = (select max(rowid) from note)")
                    await (savepoint.rollback() if choose.random() < 0.5 else savepoint.commit())
            await (transaction.rollback() if choose.random() < 0.3 else transaction.commit())
        await connection.close()

    async def read() -> None:
        connection = await asyncpg.connect(url)
        while not done.is_set():
            rows = await connection.fetch(
                "select seq from note_event where seq > $1 order by seq", seen[-1] if seen else 0
            )
            seen.extend(row["seq"] for row in rows)
        await connection.close()

    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        reader = tasks.create_task(read())
        async with asyncio.TaskGroup() as writers:
            for _ in range(8):
                writers.create_task(write())
        done.set()
        await reader
    connection = await asyncpg.connect(url)
    rows = await connection.fetch("select seq from note_event order by seq")
    await connection.close()
    after_last_poll = [row["seq"] for row in rows if row["seq"] > seen[-1]]
    assert [row["seq"] for row in rows] == seen + after_last_poll and len(rows) > 200


async def test_an_open_transaction_blocks_nobody(url: str, database: asyncpg.Connection) -> None:
    """A transaction that has written and does not end keeps no writer waiting; its notes come with its commit."""
    idle = await asyncpg.connect(url)
    transaction = idle.transaction()
    await transaction.start()
    await idle.execute(INSERT, "first written, last committed")
    await idle.execute("update note set body = body || '!'")
    await database.execute("set lock_timeout = '2s'; set statement_timeout = '2s'")
    await database.execute(INSERT, "meanwhile")
    assert await database.fetchval("select array_agg(rowid) from note_event") == [2]
    await transaction.commit()
    assert [rowid for _, rowid, _ in await log(database)] == [2, 1, 1]
    await idle.close()


async def test_a_rolled_back_note_is_no_event(url: str, database: asyncpg.Connection) -> None:
    """What is rolled back is neither logged nor announced."""
    async with notifications(url) as heard:
        transaction = database.transaction()
        await transaction.start()
        await database.execute(INSERT, "never")
        await transaction.rollback()
        await database.execute(INSERT, "after")
        assert (await next_of(heard))["body"] == "after"
    assert len(await log(database)) == 1


async def test_the_clock_is_the_floor(database: asyncpg.Connection) -> None:
    """A seq is microseconds of the clock, so that none is used again after a lost commit or a restored backup."""
    before = await database.fetchval("select (extract(epoch from clock_timestamp()) * 1e6)::bigint")
    await database.execute(INSERT, "a")
    seq = await database.fetchval("select max(seq) from note_event")
    after = await database.fetchval("select (extract(epoch from clock_timestamp()) * 1e6)::bigint")
    assert before <= seq <= after < 2**53


async def test_a_clock_that_is_behind(database: asyncpg.Connection) -> None:
    """With a log ahead of the clock the seqs go on one by one."""
    ahead = 2**53 - 1000
    await database.execute("select setval('note_seq', $1)", ahead)
    await database.execute("insert into note (username, body) select 'gb', n from generate_series(1, 3) n")
    seqs = [row["seq"] for row in await database.fetch("select seq from note_event order by seq")]
    assert seqs == [ahead + 1, ahead + 2, ahead + 3]


async def test_note_publish_places(database: asyncpg.Connection) -> None:
    """The function gives each draft its place in the order given, and leaves rowid's own counter ahead of them."""
    drafts = [{"topic": t, "username": "gb", "body": b, "key": k} for t, b, k in ("a1-", "b2k", "c3k")]
    rows = await database.fetch("select * from note_publish($1)", json.dumps(drafts))
    assert rows[1] == rows[2] and [row["rowid"] for row in rows[:2]] == [1, 2] and rows[0]["seq"] < rows[1]["seq"]
    await database.execute(INSERT, "4")
    assert await database.fetchval("select rowid from note where body = '4'") == 4


async def test_a_batch_is_announced_like_single_notes(url: str, database: asyncpg.Connection) -> None:
    """Notes of a batch are in the log and in the chain of payloads as if each had been inserted alone."""
    async with notifications(url) as heard:
        await database.execute(INSERT, "alone")
        drafts = [{"topic": "lobby", "username": "gb", "body": body} for body in "abc"]
        rows = await database.fetch("select * from note_publish($1)", json.dumps(drafts))
        await database.execute(INSERT, "alone")
        payloads = [await next_of(heard) for _ in range(5)]
    assert [payload["prev"] for payload in payloads] == [0, *(payload["seq"] for payload in payloads[:-1])]
    assert [payload["seq"] for payload in payloads[1:4]] == [row["seq"] for row in rows]
    assert len({tuple(payload) for payload in payloads}) == 1 and payloads[2]["body"] == "b"
    logged = await database.fetch("select seq from note_event order by seq")
    assert [row["seq"] for row in logged] == [payload["seq"] for payload in payloads]


async def test_a_trigger_of_the_owner(database: asyncpg.Connection) -> None:
    """What a trigger of the database's owner writes along with a batch is in the log, after the batch."""
    await database.execute(
        """create function greet() returns trigger language plpgsql as $$begin
               if new.username = 'gb' then
                   insert into note (username, body) values ('bot', 'hello ' || new.body);
                   update note set body = upper(body) where rowid = new.rowid;
               end if;
               return new;
           end$$;
           create trigger greet after insert on note for each row execute function greet()"""
    )
    drafts = [{"topic": "a", "username": "gb", "body": body} for body in "xy"]
    await database.execute("select * from note_publish($1)", json.dumps(drafts))
    first, *others = await log(database)
    assert [first, others[0]] == [("insert", 1, "a"), ("insert", 2, "a")]
    assert sorted(others[1:]) == [
        ("insert", 3, "lobby"),
        ("insert", 4, "lobby"),
        ("update", 1, "a"),
        ("update", 2, "a"),
    ]


async def test_who_may_only_write_notes(url: str, database: asyncpg.Connection) -> None:
    """A role that may insert into note and nothing else is heard; it cannot forge an entry of the log."""
    await database.execute(
        "create role writer; grant insert on note to writer; grant usage on sequence note_rowid_seq to writer"
    )
    try:
        await database.execute("set role writer")
        await database.execute(INSERT, "a")
        for forgery in (
            "select note_emit('delete', 1, 'lobby', null)",
            "select note_publish('[]')",
            "insert into note_event (seq, op) values (1, 'truncate')",
            "select setval('note_seq', 1)",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await database.execute(forgery)
        await database.execute("reset role")
        assert await log(database) == [("insert", 1, "lobby")]
    finally:
        await database.execute("reset role; drop owned by writer; drop role writer")


async def test_another_search_path(database: asyncpg.Connection) -> None:
    """A writer whose search_path is elsewhere, with tables of the same names, is logged in the right place."""
    await database.execute(
        "create schema other; create table other.note_event (seq int); create table other.note (x int)"
    )
    await database.execute("set search_path = other, pg_catalog")
    await database.execute("insert into public.note (username, body) values ('gb', 'a')")
    await database.execute("reset search_path")
    assert await log(database) == [("insert", 1, "lobby")]
