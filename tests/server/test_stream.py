"""The stream over plain HTTP: lines for curl, events for a browser, for as long as both sides wish."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import pytest

INSERT = "insert into note (username, topic, body) values ('gb', $1, $2)"


class Reader:
    """What a stream sends, line by line."""

    def __init__(self, reply: aiohttp.ClientResponse) -> None:
        self.reply = reply

    async def line(self) -> str:
        async with asyncio.timeout(5):
            return (await self.reply.content.readline()).decode()

    async def message(self) -> dict[str, Any]:
        while not (line := await self.line()).strip():
            assert line, "the stream has ended"
        return json.loads(line)

    async def block(self) -> dict[str, str]:
        lines: list[str] = []
        while (line := await self.line()) != "\n" or not lines:
            assert line, "the stream has ended"
            if line != "\n" and not line.startswith(":"):
                lines.append(line)
        return dict(line.rstrip("\n").split(": ", 1) for line in lines)


@contextlib.asynccontextmanager
async def listening(address: str, query: str = "", **headers: str) -> AsyncIterator[Reader]:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    async with aiohttp.ClientSession() as http, http.get(address + "/listen_notes" + query, headers=given) as reply:
        yield Reader(reply)


SSE = {"Accept": "text/event-stream"}


async def insert(database: asyncpg.Connection, *bodies: str, topic: str = "lobby") -> list[int]:
    for body in bodies:
        await database.execute(INSERT, topic, body)
    rows = await database.fetch("select seq from note_event order by seq desc limit $1", len(bodies))
    return [row["seq"] for row in rows][::-1]


async def test_lines(start_hub, database: asyncpg.Connection) -> None:
    """Each note is one line of JSON as it is committed, with the row's own keys; nothing comes before the first."""
    async with start_hub() as (hub, address), listening(address) as stream:
        while not hub.broadcaster.everyone:
            await asyncio.sleep(0)
        seqs = await insert(database, "one", "two")
        messages = [await stream.message() for _ in range(2)]
        assert [(message["type"], message["body"], message["seq"]) for message in messages] == [
            ("note", "one", seqs[0]),
            ("note", "two", seqs[1]),
        ]
        assert {"rowid", "created_timestamp", "updated_timestamp", "username"} < set(messages[0])


async def test_headers(start_hub) -> None:
    """The headers come at once and tell proxies not to hold anything back."""
    async with start_hub() as (_, address):
        for accept, content_type in (("*/*", "application/x-ndjson"), ("text/event-stream", "text/event-stream")):
            async with listening(address, Accept=accept, Origin="http://localhost:8000") as stream:
                headers = stream.reply.headers
                assert (stream.reply.status, headers["Content-Type"]) == (200, f"{content_type}; charset=utf-8")
                assert (headers["Cache-Control"], headers["X-Accel-Buffering"]) == ("no-store", "no")
                assert headers["Transfer-Encoding"] == "chunked" and "Content-Length" not in headers
                assert headers["Access-Control-Allow-Origin"] == "http://localhost:8000"


async def test_topics(start_hub, database: asyncpg.Connection) -> None:
    """The address chooses topics as that of a WebSocket does."""
    async with start_hub() as (hub, address), listening(address, "?topic=a&topic=b") as stream:
        while not hub.broadcaster.everyone:
            await asyncio.sleep(0)
        for topic in "xayb":
            await insert(database, topic, topic=topic)
        assert [(await stream.message())["body"] for _ in range(2)] == ["a", "b"]


async def test_after_and_last(start_hub, database: asyncpg.Connection) -> None:
    """With a cursor comes what was since, with `last` the newest, then the position, then what is live."""
    seqs = await insert(database, "1", "2", "3")
    async with start_hub() as (_, address):
        for query, expected in ((f"?after={seqs[0]}", ["2", "3"]), ("?last=1", ["3"]), ("?after=5&last=1", ["3"])):
            async with listening(address, query) as stream:
                first = await stream.message()
                if query == "?after=5&last=1":
                    assert first["type"] == "reset"
                    first = await stream.message()
                notes = [first] + [await stream.message() for _ in expected[1:]]
                assert [note["body"] for note in notes] == expected
                assert await stream.message() == {"type": "caught_up", "seq": seqs[2]}


async def test_events(start_hub, database: asyncpg.Connection) -> None:
    """A browser gets the welcome with a position and a time to wait, then notes as messages with their seq as id."""
    (first,) = await insert(database, "before")
    async with start_hub() as (_, address), listening(address, **SSE) as stream:
        welcome = await stream.block()
        assert (welcome["event"], welcome["id"]) == ("welcome", str(first)) and int(welcome["retry"]) >= 500
        (seq,) = await insert(database, "now")
        note = await stream.block()
        assert note["id"] == str(seq) and "event" not in note and json.loads(note["data"])["body"] == "now"


async def test_last_event_id(start_hub, database: asyncpg.Connection) -> None:
    """A browser that reconnects resumes after the event it saw last, whatever its address says."""
    seqs = await insert(database, "1", "2", "3")
    async with start_hub() as (_, address):
        for query in ("", f"?after={seqs[0]}", "?last=3"):
            async with listening(address, query, Last_Event_ID=str(seqs[1]), **SSE) as stream:
                assert (await stream.block())["event"] == "welcome"
                assert json.loads((await stream.block())["data"])["body"] == "3"
                assert (await stream.block())["event"] == "caught_up"


@pytest.mark.parametrize("value", ["", "x", "-1", "²", "99999999999999999999"])
async def test_a_strange_last_event_id(start_hub, database: asyncpg.Connection, value: str) -> None:
    """An id that no event can have had never breaks the stream."""
    await insert(database, "1")
    async with start_hub() as (_, address), listening(address, "?last=1", Last_Event_ID=value) as stream:
        while (message := await stream.message())["type"] != "note":
            pass
        assert message["body"] == "1"


@pytest.mark.parametrize("query", ["?after=x", "?last=0", "?username=gb", "?format=text", "?colour=red"])
async def test_a_bad_address(start_hub, query: str) -> None:
    """A wrong address is a 400 with a hint, not a stream."""
    async with start_hub() as (_, address), listening(address, query) as stream:
        body = json.loads(await stream.reply.read())
        assert stream.reply.status == 400 and body["code"] == "invalid_address" and body["hint"]


@pytest.mark.parametrize("accept", ["*/*", "text/event-stream"])
async def test_heartbeat(start_hub, accept: str) -> None:
    """A quiet stream sends what readers skip, so that proxies keep it and a dead client is found."""
    async with start_hub(ping_interval=0.05) as (hub, address), listening(address, Accept=accept) as stream:
        skipped = [
            line
            for line in [await stream.line() for _ in range(8)]
            if not line.startswith(("retry", "event", "id", "data"))
        ]
        assert len(skipped) >= 3 and all(line == "\n" or line.startswith(":") for line in skipped)
        assert len(hub.connections) == 1


async def test_http_1_0(start_hub, database: asyncpg.Connection) -> None:
    """A client of HTTP/1.0, as an nginx with its defaults is, gets lines without chunks, until the hub's end."""
    async with start_hub() as (_, address):
        where = urlsplit(address)
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        writer.write(b"GET /listen_notes?last=1 HTTP/1.0\r\n\r\n")
        async with asyncio.timeout(5):
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"200 OK" in head and b"chunked" not in head.lower()
            assert json.loads(await reader.readline())["type"] == "caught_up"
            await insert(database, "one")
            assert json.loads(await reader.readline())["body"] == "one"
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


async def test_the_end_of_the_hub(start_hub, database: asyncpg.Connection) -> None:
    """When the hub stops the body ends as it should; a reader sees no error."""
    async with contextlib.AsyncExitStack() as stack:
        async with start_hub() as (_, address):
            stream = await stack.enter_async_context(listening(address, "?last=5"))
            await stream.message()
            await insert(database, "one")
            assert (await stream.message())["body"] == "one"
        async with asyncio.timeout(5):
            assert await stream.reply.content.read() == b""


async def test_leaving(start_hub, database: asyncpg.Connection) -> None:
    """A reader that leaves is forgotten, though nothing is ever read from it."""
    async with start_hub(ping_interval=0.2) as (hub, address):
        async with listening(address, "?last=1") as stream:
            await stream.message()
            assert len(hub.connections) == 1
        async with asyncio.timeout(5):
            while hub.connections or hub.broadcaster.everyone:
                await asyncio.sleep(0)


async def test_a_reader_that_does_not_read(start_hub, database: asyncpg.Connection) -> None:
    """One that takes no data at all is dropped; the hub holds no more for it than its limit and a page meanwhile."""
    async with start_hub(stall_timeout=0.4, high_water=20_000, check_interval=60) as (hub, address):
        where = urlsplit(address)
        reader, writer = await asyncio.open_connection(where.hostname, where.port, limit=1000)
        writer.write(b"GET /listen_notes?topic=* HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(10):
            await reader.readuntil(b"\r\n\r\n")
            await database.execute(
                "insert into note (username, body) select 'gb', repeat('x', 140) from generate_series(1, 30000)"
            )
            while not hub.connections:
                await asyncio.sleep(0)
            (connection,) = hub.connections
            while hub.connections:
                assert connection.unsent < 1_000_000
                await asyncio.sleep(0.01)
            try:
                rest = await reader.read()
            except ConnectionResetError:
                rest = b""
        assert not rest.endswith(b"0\r\n\r\n"), "it must not look like a stream that has ended well"
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
