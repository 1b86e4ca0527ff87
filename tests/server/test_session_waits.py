"""Clients that the hub must wait for, and clients that must wait for the hub: neither costs anybody else anything."""

import asyncio
import socket
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import pytest

from hub.protocol import CaughtUp, History, Page, Ping, Pong, Publish, Status, Subscribe, Welcome
from tests.conftest import connect, connected

MASKED = b"\x80\0\0\0\0"  # length 0, and a mask of zeros
FRAMES = {
    "binary": b"\x82" + MASKED,
    "text": b"\x81\x81\0\0\0\0x",
    "ping": b"\x89\xfd\0\0\0\0" + b"p" * 125,
    "history": b"\x81\xae\0\0\0\0" + b'{"type":"history","topic":"lobby","limit":200}',
    "subscribe": b"\x81\xae\0\0\0\0" + b'{"type":"subscribe","topic":"lobby","after":0}',
}
HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def deaf(address: str) -> socket.socket:
    """A WebSocket that reads nothing after the answer to its handshake."""
    where = urlsplit(address)
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.connect((where.hostname, where.port))
    made.sendall(HANDSHAKE % where.netloc.encode())
    made.setblocking(False)
    return made


async def flood(client: socket.socket, data: bytes) -> None:
    """Send the same again and again until the hub has not read for a while."""
    sent = idle = 0
    repeated = data * 1000
    while idle < 20:
        try:
            sent += client.send(repeated[sent % len(data) :])
            idle = 0
            await asyncio.sleep(0)
        except BlockingIOError:
            idle += 1
            await asyncio.sleep(0.02)


async def test_clients_that_never_read(start_hub, database: asyncpg.Connection) -> None:
    """Whatever they send, their replies wait up to a bound; then they are not read. Others notice nothing."""
    await database.execute("insert into note (username, body) select 'gb', n::text from generate_series(1, 300) n")
    high_water = 100_000
    async with start_hub(high_water=high_water) as (hub, address), connect(address) as other:
        await other.until(Welcome)
        clients = [deaf(address) for _ in FRAMES]
        try:
            async with asyncio.timeout(20):
                await asyncio.gather(*map(flood, clients, FRAMES.values()))
            unsent = sorted(each.unsent for each in hub.connections)
            assert high_water / 4 < unsent[-1] < 2 * high_water, unsent
            await other.send(Ping(1))
            async with asyncio.timeout(1):
                assert await other.receive() == Pong(1)
        finally:
            for client in clients:
                client.close()


async def test_a_client_that_waits_for_an_answer(start_hub, url: str) -> None:
    """While its command waits for the database a client is heard, and what else it sends is answered in order."""
    async with (
        start_hub(ping_interval=0.2, pong_timeout=0.2) as (_, address),
        connect(address, "/ws?topic=a") as client,
        connected(url) as holder,
    ):
        await client.until(Welcome)
        async with holder.transaction():
            await holder.execute("lock note in access exclusive mode")
            await client.send(History("a", id=1))
            await client.send(Ping(2))
            await client.send(Subscribe("b", id=3))
            # Only one who receives answers pings.
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await client.socket.receive()
        assert isinstance(await client.receive(), Page)
        assert await client.receive() == Pong(2)
        assert (await client.receive()).id == 3


async def test_a_client_that_comes_while_the_database_is_away(start_hub) -> None:
    """It is told so and stays, however long that takes; once it leaves nothing of it is left."""
    async with start_hub(ping_interval=0.1, pong_timeout=0.2) as (hub, address):
        hub.listener.ready.clear()
        async with connect(address, "/ws?last=3") as stays, connect(address):
            assert await stays.receive() == Status(False)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.6):
                    await stays.socket.receive()
            hub.listener.ready.set()
            await stays.until(CaughtUp)
            hub.listener.ready.clear()
        async with asyncio.timeout(5):
            while hub.connections:
                await asyncio.sleep(0.01)


async def test_a_stream_that_begins_while_the_database_is_away(start_hub) -> None:
    """It is kept open by heartbeats; once its reader leaves nothing of it is left."""
    async with start_hub(ping_interval=0.1) as (hub, address), aiohttp.ClientSession() as http:
        hub.listener.ready.clear()
        async with http.get(address + "/listen_notes?last=3") as stays, http.get(address + "/listen_notes"):
            assert await stays.content.readline() == await stays.content.readline() == b"\n"
            hub.listener.ready.set()
            while b"caught_up" not in await stays.content.readline():
                pass
            hub.listener.ready.clear()
        async with asyncio.timeout(5):
            while hub.connections:
                await asyncio.sleep(0.01)


async def test_gone_before_the_welcome(start_hub, database: asyncpg.Connection) -> None:
    """A note of a client that did not wait for the hub to be ready is saved all the same."""
    async with start_hub() as (hub, address):
        hub.listener.ready.clear()
        async with connect(address) as client:
            await client.until(Status)
            await client.send(Publish("gb", "in a hurry"))
            client.socket._response.close()
        (session,) = hub.connections
        async with asyncio.timeout(5):
            while not session.gone:
                await asyncio.sleep(0)
        hub.listener.ready.set()
        async with asyncio.timeout(5):
            while not await database.fetchval("select count(*) from note where body = 'in a hurry'"):
                await asyncio.sleep(0.01)
        assert not hub.connections
