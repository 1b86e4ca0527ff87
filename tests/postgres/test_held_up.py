"""Publishing beside transactions of others that do not end: nobody waits for them but the note that must."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from hub.feed.ports import Draft, Placed
from hub.feed.writer import Writer
from hub.postgres.publisher import Publisher
from hub.postgres.store import Store
from tests.conftest import connected

USERS = """
    create table person (name varchar(140) primary key);
    insert into person values ('gb'), ('busy');
    alter table note add constraint note_person foreign key (username) references person
"""
AUDIT = """
    create table audit (about int, name varchar(140) references person deferrable initially deferred);
    create function audit() returns trigger language plpgsql as
        $$begin insert into audit values (new.rowid, new.username); return new; end$$;
    create trigger audit after insert on note for each row execute function audit()
"""
HELD = {  # what the owner has set up, and what somebody's open transaction has done
    "a key": ("select", "insert into note (username, body, key) values ('x', 'x', 'k')"),
    "a foreign key": (USERS, "select from person where name = 'busy' for update"),
    "a deferred foreign key": (
        USERS + " deferrable initially deferred",
        "select from person where name = 'busy' for update",
    ),
    "a deferred foreign key of a trigger's table": (
        USERS.partition("alter")[0] + AUDIT,
        "select from person where name = 'busy' for update",
    ),
}


@asynccontextmanager
async def publishing(url: str) -> AsyncIterator[tuple[Writer, Publisher]]:
    store = Store(url, 1)
    await store.open()
    publisher = Publisher(store)
    writer = Writer(publisher, 1000)
    task = asyncio.create_task(writer.run())
    try:
        async with asyncio.timeout(10):
            yield writer, publisher
    finally:
        task.cancel()
        await asyncio.wait([task])
        await publisher.close()
        await store.close()


@pytest.mark.parametrize("what", HELD)
async def test_one_waits(url: str, database: asyncpg.Connection, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the note that needs what a transaction holds waits; those beside it and later ones are saved soon."""
    monkeypatch.setattr("hub.feed.writer.HELD_RETRY", 0.02)
    setup, hold = HELD[what]
    await database.execute(setup)
    async with connected(url) as other, publishing(url) as (writer, _):
        transaction = other.transaction()
        await transaction.start()
        await other.execute(hold)
        await writer.publish(Draft("lobby", "gb", "first"))  # the connection is made
        start = time.monotonic()
        waiting = asyncio.create_task(
            writer.publish(Draft("lobby", "gb" if what == "a key" else "busy", "waits", key="k"))
        )
        neighbours = (writer.publish(Draft("lobby", "gb", str(number))) for number in range(20))
        await asyncio.gather(*neighbours)
        assert time.monotonic() - start < 0.5
        for number in range(20):  # while it is tried again
            start = time.monotonic()
            await writer.publish(Draft("lobby", "gb", f"later {number}"))
            await database.execute("insert into note (username, body) values ('gb', 'by SQL')")
            assert time.monotonic() - start < 0.5
        assert not waiting.done()
        await transaction.commit()
        place = await waiting
        assert await database.fetchval("select key from note where rowid = $1", place.rowid) == "k"
        await asyncio.wait_for(writer.close(), 1)


async def test_many_wait(url: str, database: asyncpg.Connection) -> None:
    """However many notes of a batch are held up, those that are not are saved within half a second."""
    await database.execute(USERS)
    async with connected(url) as other, publishing(url) as (_, publisher):
        await publisher.publish([Draft("lobby", "gb", "first")])
        async with other.transaction():
            await other.execute("select from person where name = 'busy' for update")
            start = time.monotonic()
            drafts = [Draft("lobby", "gb" if number % 10 else "busy", str(number)) for number in range(1000)]
            results = list(await publisher.publish(drafts))
            assert time.monotonic() - start < 1
        assert [isinstance(result, Placed) for result in results] == [bool(number % 10) for number in range(1000)]


async def test_a_changed_table_is_waited_for_in_order(url: str, database: asyncpg.Connection) -> None:
    """Who changes the table itself is waited for by all notes, and they stay in their order."""
    async with connected(url) as other, publishing(url) as (writer, _):
        await writer.publish(Draft("lobby", "gb", "first"))
        async with other.transaction():
            await other.execute("lock table note in share row exclusive mode")
            waiting = [asyncio.create_task(writer.publish(Draft("lobby", "gb", str(number)))) for number in range(20)]
            await asyncio.wait(waiting, timeout=0.3)
            assert not any(task.done() for task in waiting)
        places = await asyncio.gather(*waiting)
        assert places == sorted(places)


async def test_statements_of_a_refused_batch(url: str, database: asyncpg.Connection) -> None:
    """Refused notes of a batch are found by the statement that saves the others; all stay in order."""
    await database.execute("alter table note add constraint polite check (body <> 'rude')")
    async with publishing(url) as (writer, publisher):
        await writer.publish(Draft("lobby", "gb", "first"))
        statements: list[str] = []
        publisher._lines[False]._connection.add_query_logger(lambda query: statements.append(query.query))
        bodies = ["rude" if number in (0, 200, 201, 399) else str(number) for number in range(400)]
        answers = await asyncio.gather(
            *(writer.publish(Draft("lobby", "gb", body)) for body in bodies), return_exceptions=True
        )
        assert len(statements) == 1
    placed = [answer for answer in answers if isinstance(answer, Placed)]
    assert [isinstance(answer, Placed) for answer in answers] == [body != "rude" for body in bodies]
    assert placed == sorted(placed) and sorted(place.seq for place in placed) == [place.seq for place in placed]
    assert await database.fetchval("select count(*) from note") == 397


async def test_a_transaction_that_holds_the_log(url: str, database: asyncpg.Connection) -> None:
    """Who makes the log's trigger immediate holds the log until its end; all notes wait, and none is refused."""
    async with connected(url) as other, publishing(url) as (writer, _):
        first = await writer.publish(Draft("lobby", "gb", "first"))
        async with other.transaction():
            await other.execute("set constraints all immediate")
            await other.execute("insert into note (username, body) values ('gb', 'x')")
            waiting = [asyncio.create_task(writer.publish(Draft("lobby", "gb", str(number)))) for number in range(5)]
            await asyncio.wait(waiting, timeout=0.2)
            assert not any(task.done() for task in waiting)
        places = [first, *await asyncio.gather(*waiting)]
        assert [place.seq for place in places] == sorted(place.seq for place in places)
