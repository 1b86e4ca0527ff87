"""The fan-out over real sockets: at once where nothing waits, in order where something does, never to a stranger."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
import uvloop

from hub.delivery.fanout import Fanout
from hub.delivery.io_uring import Uring
from hub.delivery.outgoing import WEBSOCKET, Outgoing
from tests.delivery.test_io_uring import needs_uring

HIGH_WATER = 300_000
SIZE = 60_000  # bytes of a large piece, which a ring still takes


def in_all_ways(test: Callable[[Fanout], Coroutine[Any, Any, None]]) -> Callable[[Any, Any, Any], None]:
    """Run a test on asyncio's own event loop and on uvloop, as their transports differ; with a ring and without."""

    @pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
    @pytest.mark.parametrize("one_call", [pytest.param(True, marks=needs_uring), False], ids=["one call", "calls"])
    def run(loop: Callable[[], asyncio.AbstractEventLoop], one_call: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("hub.delivery.fanout.WORTH_IT", 1)
        with contextlib.ExitStack() as opened, asyncio.Runner(loop_factory=loop) as runner:
            runner.run(test(Fanout(opened.enter_context(Uring()) if one_call else None)))

    run.__doc__ = test.__doc__
    return run


class Client(Outgoing):
    """A client of a fan-out whose connection is real, and its other end."""

    __slots__ = ("theirs", "transport")

    def __init__(self, transport: asyncio.Transport, theirs: socket.socket) -> None:
        super().__init__(transport, WEBSOCKET, HIGH_WATER)
        self.transport, self.theirs = transport, theirs

    def has(self) -> bytes:
        """What has arrived by now, without a turn of the event loop."""
        try:
            return self.theirs.recv(1 << 20, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return b""

    async def receives(self, size: int) -> bytes:
        received = b""
        while len(received) < size:
            received += await asyncio.to_thread(self.theirs.recv, 1 << 16)
        return received


@contextlib.asynccontextmanager
async def client(fanout: Fanout) -> AsyncIterator[Client]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    ours.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 100_000)
    with theirs:
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
        member = Client(transport, theirs)
        fanout.add(member)
        yield member
        fanout.discard(member)
        transport.abort()
        await asyncio.sleep(0)


@in_all_ways
async def test_written_at_once(fanout: Fanout) -> None:
    """While nothing waits, bytes are with every client before the event loop turns."""
    async with client(fanout) as one, client(fanout) as other:
        assert fanout.write(b"note") == []
        assert (one.has(), other.has(), len(fanout)) == (b"note", b"note", 2)
        fanout.discard(one)
        fanout.write(b"more")
        assert (one.has(), other.has(), len(fanout)) == (b"", b"more", 1)


@in_all_ways
async def test_nothing_overtakes(fanout: Fanout) -> None:
    """What the kernel does not take waits, all that comes later waits behind it, and the others don't."""
    async with client(fanout) as slow, client(fanout) as quick:
        pieces = [bytes([65 + number]) * SIZE for number in range(20)]
        told = []
        for piece in pieces:
            told += fanout.write(piece)
            assert quick.has() == piece
        assert told and set(told) == {slow}
        received = slow.has()  # now the kernel has room again, and the transport does not know
        fanout.write(b"the last")
        received += await slow.receives(20 * SIZE + 8 - len(received))
        assert received == b"".join(pieces) + b"the last"
        await asyncio.sleep(0)
        fanout.write(b"then")  # by the transport once more, which has become empty
        fanout.write(b" at once")
        assert await slow.receives(12) == b"then at once"


@in_all_ways
async def test_other_writes_first(fanout: Fanout) -> None:
    """What a connection has written by itself and the kernel has not taken goes out before what the fan-out gets."""
    async with client(fanout) as member:
        member.write(b"r" * 1_000_000)  # a reply, say
        received = member.has()
        assert len(received) < 1_000_000
        fanout.write(b"note")
        received += await member.receives(1_000_004 - len(received))
        assert received.endswith(b"rnote")


@in_all_ways
async def test_nothing_after_the_end(fanout: Fanout) -> None:
    """A connection that closes takes nothing more, whoever has its file's number by then."""
    async with client(fanout) as member, client(fanout) as other:
        descriptor = member.file
        member.transport.abort()
        others = []
        while descriptor not in [each.fileno() for each in others]:  # turns of the loop until the number is free
            assert len(others) < 100
            fanout.write(b"for somebody else")
            await asyncio.sleep(0)
            others += socket.socketpair()
        fanout.write(b"for somebody else")
        for each in others:
            with pytest.raises(BlockingIOError):
                each.recv(10, socket.MSG_DONTWAIT)
        for each in others:
            each.close()
        assert member.gone and member.file is None and other.has()


@in_all_ways
async def test_come_and_go(fanout: Fanout) -> None:
    """Whoever is in gets each piece once, in whatever order they came and went."""
    async with client(fanout) as a, client(fanout) as b, client(fanout) as c:
        for inside in ([a, b, c], [b, c], [c, b], [b], [], [a], [a, c], [c]):
            for each in (a, b, c):
                fanout.discard(each)
                fanout.discard(each)
            for each in inside:
                fanout.add(each)
                fanout.add(each)
            fanout.discard(a) if a not in inside else fanout.hold(a)
            assert len(fanout) == len(inside)
            fanout.write(b"note")
            await asyncio.sleep(0)
            assert [each.has() for each in (a, b, c)] == [b"note" if each in inside else b"" for each in (a, b, c)]


@in_all_ways
async def test_a_client_that_is_gone(fanout: Fanout) -> None:
    """Writing to a client that has hung up raises nothing, and its transport sees the end of it."""
    async with client(fanout) as member, client(fanout) as other:
        member.theirs.close()
        async with asyncio.timeout(5):
            while not member.transport.is_closing():
                fanout.write(b"hello?")
                await asyncio.sleep(0)
        assert other.has().startswith(b"hello?")
