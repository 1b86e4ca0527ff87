"""Whether a hub says that it is well, and when it does not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import asyncpg

from hub.feed.events import Event
from hub.protocol import Deleted
from tests.conftest import Http, is_error, kept_busy, name_of, with_name

INSERT = "insert into note (username, topic, body) values ('gb', $1, $2)"


async def test_health(http: Http, database: asyncpg.Connection) -> None:
    """A hub at the head of the log is alive and ready, and says where it stands."""
    await database.execute(INSERT, "a", "hello")
    seq = await database.fetchval("select max(seq) from note_event")
    async with asyncio.timeout(5):
        while (answer := await http.get("/readyz"))[2]["head"] != seq:
            pass
    assert answer[0] == 200 and (answer[2]["status"], answer[2]["log_head"]) == ("ok", seq)
    assert 0 <= answer[2]["queue_usage"] < 0.01
    status, _, body = await http.get("/healthz")
    assert (status, body["status"], body["head"], body["connections"]) == (200, "ok", seq, 0)


async def test_a_note_on_its_way(start_hub, database: asyncpg.Connection) -> None:
    """A hub is not behind for a note that was committed just now and is heard in a moment."""
    async with start_hub(check_interval=60) as (hub, address), aiohttp.ClientSession() as session:
        await database.execute("insert into note_event (seq, op, rowid, topic) values (1, 'delete', 1, 'lobby')")
        heard = Event(1, "lobby", Deleted(1, 1, "lobby"))
        asyncio.get_running_loop().call_later(0.1, hub.broadcaster.publish, heard)
        status, _, body = await Http(session, address).get("/readyz")
        assert (status, body["status"], body["head"], body["log_head"]) == (200, "ok", 1, 1)


async def test_behind(start_hub, database: asyncpg.Connection) -> None:
    """A hub that has not heard of the log's newest event, and does not move, is not ready."""
    async with start_hub(check_interval=60) as (_, address), aiohttp.ClientSession() as session:
        await database.execute("insert into note_event (seq, op) values (1, 'truncate')")
        status, _, body = await Http(session, address).get("/readyz")
        assert (status, body["status"], body["head"], body["log_head"]) == (503, "behind", 0, 1)


@asynccontextmanager
async def locked(server: str, url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection elsewhere, while the test's database takes no new ones."""
    name = url.partition("?")[0].rpartition("/")[2]
    other = await asyncpg.connect(with_name(server, "postgres"))
    try:
        await other.execute(f"alter database {name} allow_connections false")
        yield other
    finally:
        await other.execute(f"alter database {name} allow_connections true")
        await other.close()


async def test_not_ready(http: Http, server: str, url: str) -> None:
    """A hub whose listening connection is gone is alive but not ready, whether or not its other connections are."""
    name = url.partition("?")[0].rpartition("/")[2]

    async def status() -> tuple[int, str]:
        answer = await http.get("/readyz")
        return answer[0], answer[2]["status"]

    assert await status() == (200, "ok")
    async with locked(server, url) as other, asyncio.timeout(10):
        listener = (
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1 and query ilike '%listen%'"
        )
        await other.execute(listener, name)
        while (found := await status()) == (200, "ok"):
            pass
        assert found[0] == 503
        await other.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", name)
        while await status() != (503, "database_unavailable"):
            pass
        answer = await http.post('{"username":"gb","body":"x"}')
        assert is_error(answer, 503) and answer[2]["temporary"] and answer[1]["Retry-After"]
        assert (await http.get("/healthz"))[0] == 200
    async with asyncio.timeout(10):
        while await status() != (200, "ok"):
            await asyncio.sleep(0.01)


async def test_busy(start_hub, database: asyncpg.Connection) -> None:
    """Whatever clients ask of the database meanwhile, the answer comes within a second, and is true."""
    async with (
        start_hub(pool_size=2) as (hub, address),
        aiohttp.ClientSession() as session,
        kept_busy(hub, database),
        asyncio.timeout(1),
    ):
        assert (await Http(session, address).get("/readyz"))[2]["status"] == "ok"


async def test_read_only(start_hub, url: str, database: asyncpg.Connection) -> None:
    """A hub on a database that takes no writes, as after a failover, is not ready."""
    await database.execute(f"alter database {name_of(url)} set default_transaction_read_only = on")
    async with start_hub() as (_, address), aiohttp.ClientSession() as session:
        status, _, body = await Http(session, address).get("/readyz")
        assert (status, body["status"]) == (503, "read_only")
