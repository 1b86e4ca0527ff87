"""Rows that are no notes, as after an ALTER TABLE under a running hub: everybody passes over them."""

import asyncio

import aiohttp
import asyncpg
import pytest
from structlog.testing import capture_logs

from hub.protocol import CaughtUp, Note, Welcome
from tests.conftest import Http, connect

INSERT = "insert into note (username, body) values ('gb', $1)"
ROW = {"topic": "'lobby'", "username": "'gb'", "body": "'bad'", "created_timestamp": "now()"}


@pytest.mark.parametrize("column", ROW)
async def test_a_row_with_null(start_hub, database: asyncpg.Connection, column: str) -> None:
    """It is counted and logged once; live clients, replays, pages and the hub's page have what is before and after."""
    with capture_logs() as logs:
        async with (
            start_hub() as (hub, address),
            connect(address, "/ws?topic=*") as live,
            aiohttp.ClientSession() as web,
        ):
            http = Http(web, address)
            start = (await live.until(Welcome)).seq
            await database.execute(INSERT, "before")
            await database.execute(f"alter table note alter {column} drop not null")
            values = ", ".join((ROW | {column: "null"}).values())
            await database.execute(f"insert into note ({', '.join(ROW)}) values ({values})")
            await database.execute(INSERT, "after")
            assert [(await live.until(Note)).body for _ in range(2)] == ["before", "after"]
            async with connect(address, f"/ws?topic=*&after={start}") as replay:
                await replay.until(Welcome)
                bodies = [(await replay.receive()).body for _ in range(2)]
                assert bodies == ["before", "after"] and isinstance(await replay.receive(), CaughtUp)
            for path in ("/notes", "/notes?topic=*", "/notes?topic=*&after=0", "/notes?after=0"):
                status, _, page = await http.get(path)
                assert status == 200 and [note["body"] for note in page["notes"]] == ["before", "after"], path
            status, _, page = await http.get("/")
            assert status == 200 and b"before" in page and b"after" in page
            assert (await http.get("/notes/2"))[0] == 404
            async with connect(address, "/ws?last=5") as last:
                await last.until(Welcome)
                assert [(await last.receive()).body for _ in range(2)] == ["before", "after"]
            metrics = (await http.get("/metrics"))[2].decode()
            count = next(line for line in metrics.splitlines() if line.startswith("hub_rows_not_understood_total"))
            assert float(count.split()[1]) >= 1 and hub.listener.reconnects == 0
    assert [entry["rowid"] for entry in logs if entry["event"] == "row_not_understood"] == [2]


async def test_a_column_of_another_type(start_hub, database: asyncpg.Connection) -> None:
    """A column that becomes one of numbers breaks no page and no stream."""
    async with start_hub() as (hub, address), connect(address) as live, aiohttp.ClientSession() as web:
        await live.until(Welcome)
        await database.execute("alter table note alter body type int using 0")
        await database.execute("insert into note (username, body) values ('gb', 7)")
        seq = await database.fetchval("select max(seq) from note_event")
        reached = asyncio.get_running_loop().create_future()
        hub.broadcaster.reached(seq, reached)
        async with asyncio.timeout(5):
            await reached
        status, _, page = await Http(web, address).get("/notes")
        assert (status, page["notes"], page["seq"]) == (200, [], seq)
        assert hub.store.strange.times >= 2 and hub.listener.reconnects == 0
