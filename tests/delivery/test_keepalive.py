"""Keep-alive: who is pinged, who is dropped, and how soon; and what a connection writes at its end."""

import asyncio
from typing import cast

import asyncpg
import pytest

from hub.delivery.fanout import Fanout
from hub.delivery.keepalive import look_at
from hub.delivery.outgoing import WEBSOCKET, Framing, Outgoing
from hub.protocol import GOING_AWAY, STALLED, Pong, Welcome
from hub.protocol.frames import PING_FRAME, close_frame
from tests.conftest import connect, settings
from tests.fakes import FakeTransport

SETTINGS = settings(ping_interval=25.0, pong_timeout=8.0, stall_timeout=30.0)
STREAM = Framing(b"\n", is_answered=False, close=None)


class Wire(FakeTransport):
    """A transport that keeps what it got; the kernel takes a ping at once."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        super().write(data)
        self.pieces.append(data)
        if data in (PING_FRAME, STREAM.ping):
            self.unsent -= len(data)

    @property
    def pings(self) -> int:
        return self.pieces.count(PING_FRAME) + self.pieces.count(STREAM.ping)


class Watched(Outgoing):
    """A connection on such a transport; time begins at 0."""

    __slots__ = ("wire",)

    def __init__(self, framing: Framing = WEBSOCKET) -> None:
        self.wire = Wire()
        super().__init__(cast(asyncio.Transport, self.wire), framing, 1 << 20)
        self.heard_at = self.progress_at = 0.0


def look(connection: Watched, now: float) -> None:
    look_at(connection, now, SETTINGS)


async def test_a_silent_client() -> None:
    """After the interval it is pinged, once; without an answer within the limit it is dropped."""
    connection = Watched()
    for now, pings in ((24.9, 0), (25.0, 1), (28.0, 1), (33.0, 1)):
        look(connection, now)
        assert (connection.wire.pings, connection.wire.aborted) == (pings, False), now
    look(connection, 33.1)
    assert connection.wire.aborted and not connection.closed


async def test_a_client_that_answers() -> None:
    """An answer, or anything else heard, begins the interval anew."""
    connection = Watched()
    look(connection, 25.0)
    connection.heard()
    assert connection.pinged_at is None
    connection.heard_at = 30.0
    for now, pings in ((40.0, 1), (54.9, 1), (55.0, 2)):
        look(connection, now)
        assert connection.wire.pings == pings and not connection.wire.aborted


async def test_a_stream() -> None:
    """A stream gets a heartbeat in each interval, and nobody has to answer it."""
    connection = Watched(STREAM)
    for now, pings in ((24.9, 0), (25.0, 1), (49.9, 1), (50.0, 2), (99.0, 3)):
        look(connection, now)
        assert (connection.wire.pings, connection.wire.aborted) == (pings, False), now


async def test_a_stalled_client() -> None:
    """One that has data to take and takes none for the limit is closed with its own code."""
    connection = Watched()
    look(connection, 10.0)
    connection.write(b"x" * 100)
    look(connection, 40.0)
    assert not connection.closed
    look(connection, 40.1)
    assert connection.closed and connection.wire.pings == 0
    assert connection.wire.pieces[-1][2:4] == STALLED.to_bytes(2, "big")


async def test_a_slow_client() -> None:
    """One that takes a little now and then is never closed, however far behind, and not pinged behind its data."""
    connection = Watched()
    connection.write(b"x" * 1000)
    for now in range(0, 900, 29):
        connection.wire.unsent -= 1
        look(connection, float(now))
        connection.write(b"y" * 10)
    assert not connection.closed and not connection.wire.aborted and connection.wire.pings == 0


async def test_no_pong_while_data_waits() -> None:
    """A ping that waits behind data does not count against the client; it is judged by taking the data."""
    connection = Watched()
    look(connection, 25.0)
    connection.write(b"x")
    look(connection, 30.0)
    assert connection.pinged_at is None
    connection.wire.unsent = 0
    look(connection, 34.0)
    assert not connection.wire.aborted


async def test_a_client_that_left() -> None:
    """A connection that is closing already is ended, so that its stream is forgotten."""
    for framing in (WEBSOCKET, STREAM):
        connection = Watched(framing)
        connection.wire.closed = True
        look(connection, 1.0)
        assert connection.closed
        connection.write(b"x")
        assert connection.wire.pieces == [] and connection.unsent == 0


async def test_accepted() -> None:
    """Accepted is what was written less what is still here."""
    connection = Watched()
    connection.write(b"x" * 10)
    connection.wire.unsent = 4
    assert (connection.unsent, connection.accepted) == (4, 6)


async def test_replies_of_one_turn() -> None:
    """Replies are written together at the end of the turn, or when they are flushed, and before the close frame."""
    connection = Watched()
    connection.reply(b"a")
    connection.reply(b"b")
    assert connection.wire.pieces == []
    await asyncio.sleep(0)
    assert connection.wire.pieces == [b"ab"]
    connection.reply(b"c")
    connection.close(GOING_AWAY, "bye")
    assert connection.wire.pieces[1:] == [b"c", close_frame(GOING_AWAY, "bye")]


async def test_nothing_after_the_close_frame() -> None:
    """After its last bytes a connection writes nothing, whoever asks: replies, pings, another close, a fan-out."""
    for framing in (WEBSOCKET, STREAM):
        connection, fanout = Watched(framing), Fanout()
        fanout.add(connection)
        connection.reply(b"before")
        connection.close(GOING_AWAY, "bye")
        written = list(connection.wire.pieces)
        connection.write(b"x")
        connection.reply(b"y")
        connection.flush()
        connection.ping(1.0)
        connection.close(STALLED, "again")
        fanout.write(b"z")
        await asyncio.sleep(0)
        assert connection.wire.pieces == written and connection.file is None and len(fanout) == 1


async def test_release() -> None:
    """A connection that is given back has its old protocol again; after a close frame it is closed."""
    stream = Watched(STREAM)
    before = stream._protocol
    assert stream.wire.get_protocol() is stream
    stream.reply(b"the last")
    stream.release()
    stream.write(b"x")
    assert stream.wire.pieces == [b"the last"]
    assert stream.wire.get_protocol() is before and not stream.gone and stream.done.is_set()
    socket = Watched()
    socket.close(GOING_AWAY, "bye")
    assert not socket.done.is_set()
    socket.release()
    assert socket.gone and socket.done.is_set()


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
