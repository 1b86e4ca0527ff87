"""The watch over connections: who is pinged, who is dropped, and how soon."""

import asyncio
from collections.abc import Coroutine
from typing import Any, cast

import asyncpg
import pytest

from hub.delivery.outgoing import Connection, look_at
from hub.protocol import STALLED, Pong, Welcome
from tests.conftest import connect, settings

SETTINGS = settings(ping_interval=25.0, pong_timeout=8.0, stall_timeout=30.0)


class FakeTransport:
    """Takes bytes as far as it is told to."""

    def __init__(self) -> None:
        self.unsent = 0
        self.closed = self.aborted = False

    def write(self, data: bytes) -> None:
        self.unsent += len(data)

    def get_extra_info(self, name: str) -> None:
        return None

    def is_closing(self) -> bool:
        return self.closed or self.aborted

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True


class Watched(Connection):
    """A connection that notes what is done to it; time begins at 0."""

    def __init__(self) -> None:
        self.transport = FakeTransport()
        super().__init__(cast(asyncio.Transport, self.transport), self._keep_alive)
        self.heard_at = self.progress_at = 0.0
        self.pings = 0
        self.ended: tuple[int, str] | None = None
        self.failing = False

    async def _keep_alive(self) -> None:
        if self.failing:
            raise ConnectionResetError
        self.pings += 1

    async def end(self, code: int, reason: str) -> None:
        self.ended = (code, reason)


async def look(connection: Watched, now: float) -> None:
    action: Coroutine[Any, Any, None] | None = look_at(connection, now, SETTINGS)
    if action:
        await action


async def test_a_silent_client() -> None:
    """After the interval it is pinged, once; without an answer within the limit it is dropped."""
    connection = Watched()
    for now, pings in ((24.9, 0), (25.0, 1), (28.0, 1), (33.0, 1)):
        await look(connection, now)
        assert (connection.pings, connection.transport.aborted) == (pings, False), now
    await look(connection, 33.1)
    assert connection.transport.aborted and connection.ended is None


async def test_a_client_that_answers() -> None:
    """An answer, or anything else heard, begins the interval anew."""
    connection = Watched()
    await look(connection, 25.0)
    connection.heard_at, connection.pinged_at = 30.0, None
    for now, pings in ((40.0, 1), (54.9, 1), (55.0, 2)):
        await look(connection, now)
        assert connection.pings == pings and not connection.transport.aborted


async def test_a_stalled_client() -> None:
    """One that has data to take and takes none for the limit is closed with its own code."""
    connection = Watched()
    await look(connection, 10.0)
    connection.write(b"x" * 100)
    await look(connection, 40.0)
    assert connection.ended is None
    await look(connection, 40.1)
    assert connection.ended and connection.ended[0] == STALLED and connection.pings == 0


async def test_a_slow_client() -> None:
    """One that takes a little now and then is never closed, however far behind, and not pinged behind its data."""
    connection = Watched()
    connection.write(b"x" * 1000)
    for now in range(0, 900, 29):
        connection.transport.unsent -= 1
        await look(connection, float(now))
        connection.write(b"y" * 10)
    assert connection.ended is None and not connection.transport.aborted and connection.pings == 0


async def test_no_pong_while_data_waits() -> None:
    """A ping that waits behind data does not count against the client; it is judged by taking the data."""
    connection = Watched()
    await look(connection, 25.0)
    connection.write(b"x")
    await look(connection, 30.0)
    assert connection.pinged_at is None
    connection.transport.unsent = 0
    await look(connection, 34.0)
    assert not connection.transport.aborted


async def test_a_client_that_left() -> None:
    """A connection that is closed already is ended, so that its stream is forgotten."""
    connection = Watched()
    connection.transport.closed = True
    await look(connection, 1.0)
    assert connection.ended
    connection.write(b"x")
    assert connection.transport.unsent == 0 == connection.buffered()


async def test_a_ping_that_fails() -> None:
    """A connection that breaks under the ping is dropped, and nothing is raised."""
    connection = Watched()
    connection.failing = True
    await look(connection, 25.0)
    assert connection.transport.aborted


async def test_accepted() -> None:
    """Accepted is what was written less what is still here."""
    connection = Watched()
    connection.write(b"x" * 10)
    connection.transport.unsent = 4
    assert (connection.buffered(), connection.accepted()) == (4, 6)


async def test_a_real_silent_client(start_hub) -> None:
    """Over a socket: one that answers pings stays, one that does not is gone soon."""
    limits = {"ping_interval": 0.1, "pong_timeout": 0.1}
    async with (
        start_hub(**limits) as (hub, address),
        connect(address) as alive,
        connect(address, autoping=False) as deaf,
    ):
        await alive.until(Welcome)
        await deaf.until(Welcome)
        reading = asyncio.create_task(alive.receive())  # the client library answers pings only while it reads
        async with asyncio.timeout(5):
            while len(hub.connections) > 1:
                await asyncio.sleep(0.01)
        await alive.send('{"type":"ping"}')
        assert await reading == Pong()


@pytest.mark.parametrize("path", ["/ws?topic=*"])
async def test_a_real_stalled_client(start_hub, database: asyncpg.Connection, path: str) -> None:
    """Over a socket: one that stops reading is paged, then closed, and the others get everything meanwhile."""
    async with (
        start_hub(stall_timeout=0.4, high_water=20_000, check_interval=60) as (hub, address),
        connect(address, path, max_msg_size=0) as stuck,
        connect(address, path) as other,
    ):
        await stuck.until(Welcome)
        await other.until(Welcome)
        connection = stuck.socket._response.connection  # type: ignore[union-attr]
        assert connection and connection.transport
        connection.transport.pause_reading()
        async with asyncio.timeout(20):
            await database.execute(
                "insert into note (username, body) select 'gb', repeat('x', 140) from generate_series(1, 30000)"
            )
            seqs = [(await other.receive()).seq for _ in range(30_000)]  # type: ignore[union-attr]
            assert seqs == sorted(set(seqs))
            while len(hub.connections) > 1:
                await asyncio.sleep(0.01)
        connection.transport.abort()
