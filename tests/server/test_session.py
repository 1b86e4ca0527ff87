"""One WebSocket's life, over a real one: every command, everything in the address, every mistake."""

import asyncio

import aiohttp
import asyncpg
import pytest

from hub.protocol import (
    GOING_AWAY,
    Ack,
    CaughtUp,
    Deleted,
    Error,
    History,
    Note,
    Page,
    Ping,
    Pong,
    Publish,
    Reset,
    Subscribe,
    Unsubscribe,
    Welcome,
)
from tests.conftest import Client, connect

INSERT = "insert into note (username, topic, body) values ('gb', $1, $2)"


async def closing(client: Client) -> int | None:
    """The code with which the hub closes."""
    while True:
        frame = await client.socket.receive(timeout=5)
        if frame.type is not aiohttp.WSMsgType.TEXT:
            assert frame.type is aiohttp.WSMsgType.CLOSE, frame
            return frame.data


async def test_welcome(start_hub, database: asyncpg.Connection) -> None:
    """The first message tells the protocol, the position, the topics and the limits."""
    await database.execute(INSERT, "lobby", "before")
    async with (
        start_hub(max_frame=5000, max_topics=7) as (hub, address),
        connect(address, "/ws?topic=b&topic=a") as client,
    ):
        welcome = await client.receive()
    assert isinstance(welcome, Welcome) and welcome.protocol == "notes.v1"
    assert (welcome.topics, welcome.limits.frame, welcome.limits.topics) == (["a", "b"], 5000, 7)
    assert welcome.limits.text == 140 and welcome.limits.ping_interval == 25
    assert welcome.seq == await database.fetchval("select max(seq) from note_event") == hub.broadcaster.head


async def test_publish(start_hub, database: asyncpg.Connection) -> None:
    """A publish is acked once committed, with its place, and comes back as a note to all who follow its topic."""
    async with start_hub() as (_, address), connect(address, "/ws?topic=a") as client:
        await client.until(Welcome)
        await client.send(Publish("gb", "hello", "a", "k", 7))
        got = [await client.receive(), await client.receive()]
        ack = next(message for message in got if isinstance(message, Ack))
        note = next(message for message in got if isinstance(message, Note))
        row = await database.fetchrow("select * from note")
        assert (ack.id, ack.rowid, ack.seq) == (7, row["rowid"], note.seq)
        assert (note.rowid, note.topic, note.body, note.key) == (row["rowid"], "a", "hello", "k")
        assert note.created_timestamp == row["created_timestamp"]
        await client.send(Publish("gb", "hello again", "a", "k", 8))
        assert await client.until(Ack) == Ack(8, ack.seq, ack.rowid)
    assert await database.fetchval("select count(*) from note") == 1


async def test_a_bare_line(start_hub) -> None:
    """What the original's page sends is a publish; without a topic it goes to the first of the address."""
    async with start_hub() as (_, address), connect(address, "/ws?topic=ops&topic=x") as client:
        await client.send('{"username": "gb", "body": "Hello World!"}')
        note = await client.until(Note)
        assert (note.topic, note.username, note.body) == ("ops", "gb", "Hello World!")


async def test_a_publisher(start_hub) -> None:
    """An empty topic follows nothing: acks come, notes do not; they go to the lobby."""
    async with start_hub() as (_, address), connect(address, "/ws?topic=") as client, connect(address) as other:
        assert (await client.until(Welcome)).topics == []
        await other.until(Welcome)
        await client.send(Publish("gb", "hello"))
        assert isinstance(await client.receive(), Ack)
        assert (await other.until(Note)).topic == "lobby"
        await client.send(Ping(1))
        assert await client.receive() == Pong(1)


async def test_topics(start_hub, database: asyncpg.Connection) -> None:
    """A client gets the notes of its topics in order, and no other; with a star it gets all."""
    async with (
        start_hub() as (_, address),
        connect(address, "/ws?topic=a&topic=c") as some,
        connect(address, "/ws?topic=*") as every,
    ):
        await some.until(Welcome)
        await every.until(Welcome)
        for topic in "abcab":
            await database.execute(INSERT, topic, topic)
        assert [(await some.receive()).body for _ in range(3)] == list("aca")
        assert [(await every.receive()).body for _ in range(5)] == list("abcab")


async def test_subscribe(start_hub, database: asyncpg.Connection) -> None:
    """One more topic is followed from the ack on; with `after`, from that cursor on; until unsubscribed."""
    async with start_hub() as (hub, address), connect(address, "/ws?topic=a") as client:
        await client.until(Welcome)
        await database.execute(INSERT, "b", "1")
        first = await database.fetchval("select max(seq) from note_event")
        await database.execute(INSERT, "b", "2")
        while hub.broadcaster.head <= first:
            await asyncio.sleep(0)
        await client.send(Subscribe("b", first, 7))
        assert await client.receive() == Ack(7, first)
        assert (await client.receive()).body == "2" and isinstance(await client.receive(), CaughtUp)
        await database.execute(INSERT, "b", "3")
        await database.execute(INSERT, "a", "4")
        assert [(await client.receive()).body for _ in range(2)] == ["3", "4"]
        await client.send(Unsubscribe("b", 8))
        assert (await client.until(Ack)).id == 8
        await database.execute(INSERT, "b", "5")
        await database.execute(INSERT, "a", "6")
        assert (await client.receive()).body == "6"
        await client.send(Subscribe("b", id=9))
        assert (await client.until(Ack)).id == 9
        await database.execute(INSERT, "b", "7")
        assert (await client.receive()).body == "7"


async def test_history(start_hub, database: asyncpg.Connection) -> None:
    """Pages of a topic's notes, or of all, go back from the newest; the seq is one to stream on from."""
    for number in range(7):
        await database.execute(INSERT, "ab"[number % 2], str(number))
    async with start_hub() as (_, address), connect(address, "/ws?topic=") as client:
        await client.until(Welcome)

        async def page(command: History) -> list[str]:
            await client.send(command)
            reply = await client.receive()
            assert isinstance(reply, Page) and reply.id == command.id
            assert reply.seq == await database.fetchval("select max(seq) from note_event")
            return [note.body for note in reply.notes]

        assert await page(History("a", None, 2, 7)) == ["4", "6"]
        assert await page(History("a", 5, 9, "x")) == ["0", "2"]
        assert await page(History("*", None, 3)) == ["4", "5", "6"]
        assert await page(History()) == []


async def test_after(start_hub, database: asyncpg.Connection) -> None:
    """With `after` come the events since, changes and deletions too, then caught_up, then what is live; none twice."""
    for body in "abc":
        await database.execute(INSERT, "lobby", body)
    first = await database.fetchval("select min(seq) from note_event")
    await database.execute("delete from note where body = 'c'")
    async with start_hub() as (_, address), connect(address, f"/ws?after={first}") as client:
        await client.until(Welcome)
        await database.execute(INSERT, "lobby", "d")
        got = [await client.receive() for _ in range(4)]
    notes = [message for message in got if isinstance(message, Note)]
    assert [note.body for note in notes] == ["b", "d"]
    assert sum(isinstance(message, Deleted) for message in got) == sum(isinstance(m, CaughtUp) for m in got) == 1
    seqs = [message.seq for message in got if not isinstance(message, CaughtUp)]
    assert seqs == sorted(seqs) and seqs[0] > first


async def test_resume(start_hub, database: asyncpg.Connection) -> None:
    """A client that comes back with its cursor, to another hub even, has missed nothing and gets nothing twice."""
    async with start_hub() as (_, address), connect(address) as client:
        await client.until(Welcome)
        await database.execute(INSERT, "lobby", "1")
        cursor = (await client.receive()).seq
    for body in "23":
        await database.execute(INSERT, "lobby", body)
    async with start_hub() as (_, address), connect(address, f"/ws?after={cursor}") as client:
        await client.until(Welcome)
        assert [(await client.receive()).body for _ in range(2)] == ["2", "3"]
        assert isinstance(await client.receive(), CaughtUp)


async def test_an_unknown_cursor(start_hub, database: asyncpg.Connection) -> None:
    """A cursor that this log never had is answered with a reset and, with `last`, the newest notes."""
    for body in "abc":
        await database.execute(INSERT, "lobby", body)
    async with start_hub() as (hub, address):
        async with connect(address, "/ws?after=123") as client:
            await client.until(Welcome)
            reset = await client.receive()
            assert isinstance(reset, Reset) and reset.seq == hub.broadcaster.head
            assert await client.receive() == CaughtUp(reset.seq)
        async with connect(address, "/ws?after=123&last=2") as client:
            assert isinstance(await client.until(Reset), Reset)
            assert [(await client.receive()).body for _ in range(2)] == ["b", "c"]
            assert await client.receive() == CaughtUp(reset.seq)


async def test_last(start_hub, database: asyncpg.Connection) -> None:
    """With `last` the newest come in the order of their creation, the others are left out."""
    for body in "abcd":
        await database.execute(INSERT, "lobby", body)
    async with start_hub() as (_, address), connect(address, "/ws?last=3") as client:
        await client.until(Welcome)
        assert [(await client.receive()).body for _ in range(3)] == ["b", "c", "d"]
        assert isinstance(await client.receive(), CaughtUp)


@pytest.mark.parametrize(
    "way", [{"path": "/ws?username=gb&format=text"}, {"path": "/ws?username=gb", "protocols": ("text.notes.v1",)}]
)
async def test_text(start_hub, database: asyncpg.Connection, way: dict) -> None:
    """In the text format each line typed is a body, each note a readable line, each mistake one with a `!`."""
    async with start_hub() as (_, address), connect(address, **way) as client:

        async def line() -> str:
            frame = await client.socket.receive(timeout=5)
            assert frame.type is aiohttp.WSMsgType.TEXT
            return frame.data

        assert (await line()).startswith("* connected to #lobby")
        await client.send("Hello World!\r\n")
        assert (await line()).endswith(" #lobby gb: Hello World!\n")
        await client.send('{"username":"x","body":"y"}')
        assert (await line()).endswith(' #lobby gb: {"username":"x","body":"y"}\n')
        for mistake in ("x" * 141, " \n", "\0"):
            await client.send(mistake)
            assert (await line()).startswith("! ")
        await database.execute(INSERT, "lobby", "a\x1b[2Jb\nc")
        assert (await line()).endswith("gb: a·[2Jb ⏎ c\n")
    bodies = [row["body"] for row in await database.fetch("select body from note order by rowid")]
    assert bodies[0] == "Hello World!" and len(bodies) == 3


async def test_text_without_a_name(start_hub) -> None:
    """A terminal that did not say its name is told how to; it reads all the same."""
    async with start_hub() as (_, address), connect(address, "/ws?format=text") as client:
        await client.socket.receive(timeout=5)
        await client.send("hello")
        reply = await client.socket.receive(timeout=5)
        assert reply.data.startswith("! ") and "username=" in reply.data


async def test_subprotocol(start_hub) -> None:
    """The hub takes the subprotocols that it speaks, and does without."""
    async with start_hub() as (_, address):
        for offered, chosen in ((("notes.v1",), "notes.v1"), (("x", "notes.v1"), "notes.v1"), ((), None)):
            async with connect(address, protocols=offered) as client:
                assert client.socket.protocol == chosen


async def test_ping_of_websocket(start_hub) -> None:
    """A WebSocket ping is answered with its own data."""
    async with start_hub() as (_, address), connect(address, autoping=False) as client:
        await client.until(Welcome)
        await client.socket.ping(b"data")
        frame = await client.socket.receive(timeout=5)
        assert (frame.type, bytes(frame.data)) == (aiohttp.WSMsgType.PONG, b"data")


async def test_the_end_of_the_hub(start_hub) -> None:
    """A hub that stops answers what was sent, then closes with 1001."""
    async with start_hub() as (_, address):
        session = aiohttp.ClientSession()
        client = Client(await session.ws_connect(address + "/ws?topic="))
        await client.until(Welcome)
        for number in range(50):
            await client.send(Publish("gb", "x", id=number))
        await client.until(Ack)
    replies = [await client.receive() for _ in range(49)]
    assert [reply.id for reply in replies] == list(range(1, 50))
    assert all(isinstance(reply, Ack) or (isinstance(reply, Error) and reply.temporary) for reply in replies)
    assert await closing(client) == GOING_AWAY
    await session.close()


async def test_leaving(start_hub) -> None:
    """A client that leaves is forgotten at once."""
    async with start_hub() as (hub, address):
        async with connect(address) as client:
            await client.until(Welcome)
            assert len(hub.connections) == len(hub.broadcaster.everyone) == 1
        async with asyncio.timeout(5):
            while hub.connections or hub.broadcaster.everyone:
                await asyncio.sleep(0)
