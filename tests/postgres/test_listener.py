"""The listening connection: order, gaps, and every way in which it can be lost."""

import asyncio
import time

import asyncpg
import pytest

from hub.errors import NotListening
from hub.postgres import migrations
from hub.protocol import CaughtUp, Note, Reset, Status, Welcome
from tests.conftest import Client, connect, connected, kept_busy, name_of, with_name
from tests.proxy import proxied

INSERT = "insert into note (username, body) values ('gb', $1)"
KILL = """
    select pg_terminate_backend(pid, 5000) from pg_stat_activity
    where datname = current_database() and application_name = 'notes-hub listener'
"""


async def bodies(client: Client, count: int) -> list[str]:
    """The bodies of the next notes."""
    return [(await client.until(Note)).body for _ in range(count)]


async def test_insert_reaches_a_client(start_hub, database: asyncpg.Connection) -> None:
    """A row inserted by anyone is received as a note, with the row's columns."""
    async with start_hub() as (_, address), connect(address) as client:
        await client.until(Welcome)
        await database.execute(INSERT, "Hello World!")
        note = await client.receive()
        assert isinstance(note, Note)
        assert (note.rowid, note.topic, note.username, note.body) == (1, "lobby", "gb", "Hello World!")


async def test_terminated_listener(start_hub, database: asyncpg.Connection) -> None:
    """A client of a hub whose listening backend is ended sees the status, then what was missed, once."""
    async with start_hub() as (hub, address), connect(address) as client:
        await client.until(Welcome)
        await database.execute(KILL)
        await database.execute(INSERT, "during")
        assert await client.receive() == Status(False)
        await database.execute(INSERT, "after")
        assert await bodies(client, 2) == ["during", "after"]
        await hub.listener.ready.wait()
        await database.execute(INSERT, "last")
        assert await bodies(client, 1) == ["last"]


async def test_status_comes_back(start_hub, database: asyncpg.Connection) -> None:
    """When the hub hears the database again its clients are told."""
    async with start_hub() as (_, address), connect(address) as client:
        await client.until(Welcome)
        await database.execute(KILL)
        assert await client.receive() == Status(False)
        assert await client.receive() == Status(True)


async def test_black_hole(start_hub, url: str, database: asyncpg.Connection) -> None:
    """A connection that nothing comes through any more is found and replaced within 5 seconds."""
    async with proxied(url) as proxy, start_hub(proxy.url) as (_, address), connect(address) as client:
        await client.until(Welcome)
        proxy.open.clear()
        await database.execute(INSERT, "unheard")
        start = time.monotonic()
        assert await client.receive() == Status(False)
        assert time.monotonic() - start < 5
        proxy.cut()
        proxy.open.set()
        assert await bodies(client, 1) == ["unheard"]


async def test_deaf_connection(start_hub, url: str, database: asyncpg.Connection) -> None:
    """A connection that answers queries and delivers no notifications is found, and nothing is lost."""
    async with (
        proxied(url) as proxy,
        start_hub(proxy.url, check_interval=0.2) as (_, address),
        connect(address) as client,
    ):
        await client.until(Welcome)
        proxy.drop_notifications = True
        await database.execute(INSERT, "unheard")
        assert await client.receive() == Status(False)
        proxy.drop_notifications = False
        assert await bodies(client, 1) == ["unheard"]


async def test_lost_notification(start_hub, url: str, database: asyncpg.Connection) -> None:
    """A single notification that is lost shows in the next one's `prev`: both notes come, in order."""
    async with (
        proxied(url) as proxy,
        start_hub(proxy.url, check_interval=60) as (hub, address),
        connect(address) as client,
    ):
        await client.until(Welcome)
        proxy.drop_notifications = True
        await database.execute(INSERT, "lost")
        async with asyncio.timeout(5):
            while proxy.dropped == 0:
                await asyncio.sleep(0.01)
        proxy.drop_notifications = False
        await database.execute(INSERT, "heard")
        assert await bodies(client, 2) == ["lost", "heard"]
        assert hub.listener.gaps == 1


async def test_pooler_without_listen(start_hub, url: str) -> None:
    """A hub that would never hear anything says so at its start and ends."""
    async with proxied(url) as proxy:
        proxy.drop_notifications = True
        with pytest.raises(BaseExceptionGroup) as caught:
            async with start_hub(proxy.url):
                pass
        assert "pooler" in str(caught.value.subgroup(NotListening).exceptions[0])


async def test_cut_again_and_again(start_hub, url: str, database: asyncpg.Connection) -> None:
    """Connections that break at any moment lose nothing, double nothing and keep the order."""
    async with proxied(url) as proxy, start_hub(proxy.url) as (_, address), connect(address) as client:
        await client.until(Welcome)
        for number in range(60):
            await database.execute(INSERT, str(number))
            if number % 7 == 0:
                proxy.cut()
        assert await bodies(client, 60) == [str(number) for number in range(60)]


async def test_truncate(start_hub, database: asyncpg.Connection) -> None:
    """TRUNCATE resets every client, and what follows comes as ever; a later resume sees the same."""
    async with start_hub() as (_, address), connect(address) as client:
        start = (await client.until(Welcome)).seq
        await database.execute(INSERT, "gone")
        await database.execute("truncate note restart identity")
        await database.execute(INSERT, "new")
        assert [type(await client.receive()) for _ in range(3)] == [Note, Reset, Note]
        async with connect(address, f"/ws?after={start}") as late:
            await late.until(Reset)
            assert (await late.until(Note)).body == "new"
            await late.until(CaughtUp)


async def test_foreign_notifications(start_hub, database: asyncpg.Connection) -> None:
    """What others notify on the channel, well-formed or not, harms nobody."""
    async with start_hub() as (_, address), connect(address) as client:
        await client.until(Welcome)
        for payload in ("hello", "", '{"seq":9007199254740000,"prev":1,"op":"insert"}', '{"seq":-1,"prev":0,"op":"x"}'):
            await database.execute("select pg_notify('channel_note', $1)", payload)
        await database.execute(INSERT, "real")
        assert await bodies(client, 1) == ["real"]


async def test_replaced_database(start_hub, database: asyncpg.Connection) -> None:
    """A log that lacks what the hub has told, as after restoring a backup, resets every client."""
    async with start_hub(check_interval=0.2) as (_, address), connect(address) as client:
        await client.until(Welcome)
        await database.execute(INSERT, "kept")
        kept = await client.until(Note)
        await database.execute(INSERT, "lost with the restore")
        await client.until(Note)
        async with database.transaction():
            await database.execute("delete from note_event where seq > $1", kept.seq)
            await database.execute("select setval('note_seq', $1)", kept.seq)
        reset = await client.until(Reset)
        assert reset.seq == kept.seq
        await database.execute(INSERT, "new")
        assert (await client.until(Note)).body == "new"


async def test_table_missing_for_a_moment(start_hub, database: asyncpg.Connection) -> None:
    """While the log is being restored the hub waits for it, and goes on."""
    async with start_hub() as (hub, address), connect(address) as client:
        await client.until(Welcome)
        await database.execute("alter table note_event rename to note_event_away")
        await database.execute(KILL)
        async with asyncio.timeout(5):
            while hub.listener.reconnects < 2:
                await asyncio.sleep(0.01)
        await database.execute("alter table note_event_away rename to note_event")
        await database.execute(INSERT, "restored")
        assert await bodies(client, 1) == ["restored"]


async def test_restored_database(start_hub, server: str, url: str, database: asyncpg.Connection) -> None:
    """The database is dropped, made and restored under a running hub: clients are told by a reset, and it goes on."""
    async with start_hub() as (hub, address), connect(address) as client:
        await client.until(Welcome)
        await database.execute(INSERT, "old")
        assert await bodies(client, 1) == ["old"]
        async with connected(with_name(server, "postgres")) as other:
            await other.execute(f"drop database {name_of(url)} with (force)")
            await other.execute(f"create database {name_of(url)}")
            async with asyncio.timeout(5):
                while hub.listener.reconnects < 3:  # there is nothing yet that it could hear
                    await asyncio.sleep(0.01)
        async with connected(url) as made:
            await migrations.migrate(made)
            await made.execute(INSERT, "restored")
            await client.until(Reset)
            await made.execute(INSERT, "new")
            while (body := (await bodies(client, 1))[0]) != "new":
                assert body == "restored"  # where the hub heard the new database before that


async def test_reads_of_its_own(start_hub, database: asyncpg.Connection) -> None:
    """What clients ask of the database does not hold up the way back to hearing it."""
    async with start_hub(pool_size=2) as (hub, address), connect(address) as client:
        await client.until(Welcome)
        async with kept_busy(hub, database):
            await database.execute(KILL)
            await database.execute(INSERT, "at once")
            async with asyncio.timeout(1):
                assert await bodies(client, 1) == ["at once"]
