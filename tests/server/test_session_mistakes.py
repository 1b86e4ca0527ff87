"""What a WebSocket client may do wrongly: it is told, with a hint, and what it does rightly still works."""

import json

import asyncpg
import pytest

from hub.protocol import BAD_REQUEST, FORBIDDEN, TOO_BIG, Error, Ping, Pong, Publish, Subscribe, Unsubscribe, Welcome
from tests.conftest import connect
from tests.server.test_session import closing


async def test_subscribing_wrongly(start_hub) -> None:
    """One topic too many, one covered by the star, one not followed: an error with the command's id, no more."""
    async with start_hub(max_topics=2) as (_, address), connect(address, "/ws?topic=a&topic=b") as client:
        await client.until(Welcome)

        async def answer(command: object) -> str | None:
            await client.send(command)
            reply = await client.receive()
            assert reply.id == 7 and (not isinstance(reply, Error) or reply.hint)
            return getattr(reply, "code", None)

        assert await answer(Subscribe("c", id=7)) == "too_many_topics"
        assert await answer(Subscribe("a", id=7)) is None
        assert await answer(Unsubscribe("zzz", id=7)) == "not_subscribed"
        assert await answer(Subscribe("*", id=7)) is None
        assert await answer(Subscribe("c", id=7)) == "already_subscribed"
        assert await answer(Unsubscribe("a", id=7)) == "not_subscribed"
        assert await answer(Unsubscribe("*", id=7)) is None
        assert await answer(Subscribe("c", id=7)) is None


MISTAKES = [
    "not json",
    "",
    "[]",
    "5",
    '{"type":"nope"}',
    '{"username":"gb"}',
    '{"username":"gb","body":""}',
    '{"username":"gb","body":" \\n"}',
    '{"username":"","body":"x"}',
    '{"username":"gb","body":"x","colour":"red"}',
    '{"username":"gb","body":7}',
    '{"username":"gb","body":"a\\u0000b"}',
    '{"username":"gb","body":"\\ud800"}',
    '{"username":"gb","body":"\\udc00\\ud800"}',
    json.dumps({"username": "gb", "body": "x" * 141}),
    json.dumps({"username": "x" * 141, "body": "x"}),
    '{"a":' + "[" * 60_000,
]


async def test_mistakes(start_hub, database: asyncpg.Connection) -> None:
    """Whatever a client sends wrongly is answered with code, message and hint; nothing is saved, it stays connected."""
    async with start_hub() as (_, address), connect(address) as client:
        await client.until(Welcome)
        for line in MISTAKES:
            await client.send(line)
            error = await client.receive()
            assert isinstance(error, Error) and error.code and error.message and error.hint, line
        await client.socket.send_bytes(b'{"username":"gb","body":"x"}')
        error = await client.receive()
        assert isinstance(error, Error) and error.code == "binary"
        await client.send(Ping("alive"))
        assert await client.receive() == Pong("alive")
    assert await database.fetchval("select count(*) from note") == 0


async def test_a_refused_publish(start_hub, database: asyncpg.Connection) -> None:
    """What the database refuses is an error with the command's id; the next note is saved."""
    await database.execute("alter table note add constraint polite check (body <> 'rude')")
    async with start_hub() as (_, address), connect(address, "/ws?topic=") as client:
        await client.until(Welcome)
        for number, body in enumerate(("a", "rude", "b")):
            await client.send(Publish("gb", body, id=number))
        replies = [await client.receive() for _ in range(3)]
    assert [(type(reply).__name__, reply.id) for reply in replies] == [("Ack", 0), ("Error", 1), ("Ack", 2)]


async def test_too_big(start_hub, database: asyncpg.Connection) -> None:
    """A message over 64 KiB closes the connection with 1009; one at the limit is read."""
    async with start_hub() as (_, address):
        async with connect(address) as client:
            await client.send(" " * (65_536 - 16) + '{"type":"ping"}')
            assert await client.until(Pong) == Pong()
        async with connect(address) as client:
            await client.send(json.dumps({"username": "gb", "body": "x", "key": "y" * 65_536}))
            assert await closing(client) == TOO_BIG
    assert await database.fetchval("select count(*) from note") == 0


@pytest.mark.parametrize(
    "query", ["after=x", "last=0", "colour=red", "topic=a&topic=b&topic=c", "format=xml", "after=1&after=2"]
)
async def test_a_bad_address(start_hub, query: str) -> None:
    """A wrong address is told in an error, then the connection closes with a code that says not to come back."""
    async with start_hub(max_topics=2) as (_, address), connect(address, f"/ws?{query}") as client:
        error = await client.receive()
        assert isinstance(error, Error) and error.code in ("invalid_address", "too_many_topics") and error.hint
        assert await closing(client) == BAD_REQUEST


async def test_foreign_origin(start_hub) -> None:
    """A page of another site is refused with a code; the hub's own pages, listed ones and programs are not."""
    async with start_hub(allowed_origins="https://friend.example") as (_, address):
        for origin in ("https://evil.example", "null", "http://[", address.replace("127.0.0.1", "localhost.example")):
            async with connect(address, headers={"Origin": origin}) as client:
                error = await client.receive()
                assert isinstance(error, Error) and error.code == "forbidden_origin"
                assert await closing(client) == FORBIDDEN
        for headers in ({}, {"Origin": "https://friend.example"}, {"Origin": address}):
            async with connect(address, headers=headers) as client:
                assert isinstance(await client.receive(), Welcome)
