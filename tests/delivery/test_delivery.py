"""Live subscriptions over real sockets, with all the parts between an event and its bytes, on both event loops.

What the parts promise each other: nothing overtakes what is still unsent, and nothing is written to a file
that is not the client's any more.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop

from hub.delivery.fanout import Fanout
from hub.delivery.io_uring import Uring
from hub.delivery.outgoing import WEBSOCKET, Outgoing
from hub.feed.broadcaster import Broadcaster
from hub.feed.events import Event
from hub.feed.subscription import Subscription
from hub.protocol import Deleted, Message, Pong
from hub.protocol.frames import close_frame
from tests.delivery.test_io_uring import needs_uring
from tests.fakes import FakeLog

PIECE = 30_000  # bytes of a message: some fill the socket
ENDS: dict[str, Callable[["Client"], object]] = {
    "aborted": lambda client: client.transport.abort(),
    "closed": lambda client: client.transport.close(),
    "reset": lambda client: client.reset(),
    "left": lambda client: client.theirs.close(),
}


def piece(message: Message, position: int | None = None) -> bytes:
    """A large message that says what it is."""
    what = f"deleted {message.seq}" if isinstance(message, Deleted) else f"reply {message.id}"
    return what.encode().ljust(PIECE, b".")


def parsed(received: bytes) -> list[str]:
    """What whole messages say."""
    return [received[at : at + PIECE].rstrip(b".").decode() for at in range(0, len(received), PIECE)]


class Client:
    """A live subscription, its transport, and the other end."""

    def __init__(self, broadcaster: Broadcaster, transport: asyncio.Transport, theirs: socket.socket) -> None:
        self.transport, self.theirs = transport, theirs
        self.outgoing = Outgoing(transport, WEBSOCKET, 100 * PIECE)
        self.subscription = Subscription(self.outgoing, piece, broadcaster, FakeLog(None), asyncio.ensure_future)
        self.subscription.open(frozenset("a"), None, None)

    def reset(self) -> None:
        """Leave as a process that is killed with data unread."""
        self.theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.theirs.close()

    async def messages(self, count: int) -> list[str]:
        received = b""
        while len(received) < count * PIECE:
            received += await asyncio.to_thread(self.theirs.recv, count * PIECE - len(received))
        return parsed(received)


@contextlib.asynccontextmanager
async def client(broadcaster: Broadcaster) -> AsyncIterator[Client]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    ours.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * PIECE)
    with theirs:
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
        yield Client(broadcaster, transport, theirs)
        if not transport.is_closing():
            transport.abort()
        await asyncio.sleep(0)


def in_all_ways(test: Callable[..., object]) -> Callable[..., None]:
    """Run a test with a broadcaster on both event loops, with a ring and without."""

    @pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
    @pytest.mark.parametrize("one_call", [pytest.param(True, marks=needs_uring), False], ids=["one call", "calls"])
    def run(loop: Callable[[], asyncio.AbstractEventLoop], one_call: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        async def main(ring: Uring | None) -> None:
            running = asyncio.get_running_loop()
            await test(Broadcaster(running.call_soon, running.call_later, 1 << 20, new_fanout=lambda: Fanout(ring)))

        monkeypatch.setattr("hub.delivery.fanout.WORTH_IT", 1)
        with contextlib.ExitStack() as opened, asyncio.Runner(loop_factory=loop) as runner:
            runner.run(main(opened.enter_context(Uring()) if one_call else None))

    run.__doc__ = test.__doc__
    return run


def publish(broadcaster: Broadcaster, seq: int) -> None:
    """Publish an event and write it out."""
    broadcaster.publish(Event(seq, "a", Deleted(seq, seq, "a")))
    broadcaster.flush()


@in_all_ways
async def test_events_and_replies_in_order(broadcaster: Broadcaster) -> None:
    """What was written first comes first, events and replies, however full the socket was meanwhile."""
    async with client(broadcaster) as slow, client(broadcaster) as quick:
        expected, received, number = list[str](), b"", 0
        for _ in range(4):
            while not slow.outgoing.unsent:
                number += 1
                slow.subscription.tell(Pong(number))
                expected.append(f"reply {number}")
            received += slow.theirs.recv(1 << 24, socket.MSG_DONTWAIT)  # there is room, and its transport does not know
            for _ in range(3):
                number += 1
                publish(broadcaster, number)
                expected.append(f"deleted {number}")
                assert await quick.messages(1) == expected[-1:]
        assert slow.subscription.live
        rest = len(expected) * PIECE - len(received)
        while rest:
            received += await asyncio.to_thread(slow.theirs.recv, rest)
            rest = len(expected) * PIECE - len(received)
        assert parsed(received) == expected


@in_all_ways
async def test_nothing_to_a_stranger(broadcaster: Broadcaster) -> None:
    """When a connection has ended, however that was, whoever has its file's number then gets nothing of it."""
    for end in ENDS:
        for unsent in (False, True):
            async with client(broadcaster) as ending, client(broadcaster) as other:
                await ends(broadcaster, ending, other, end, unsent)


async def ends(broadcaster: Broadcaster, ending: Client, other: Client, end: str, unsent: bool) -> None:
    descriptor = ending.outgoing.file
    while unsent and not ending.outgoing.unsent:
        ending.subscription.tell(Pong(0))
    ENDS[end](ending)
    strangers: list[socket.socket] = []
    seq = broadcaster.head
    while descriptor not in [each.fileno() for each in strangers]:
        assert len(strangers) < 1000, (end, unsent)
        seq += 1
        publish(broadcaster, seq)
        await other.messages(1)
        if unsent and end == "closed":  # it takes what was unsent: the file is closed only then
            with contextlib.suppress(BlockingIOError):
                ending.theirs.recv(1 << 20, socket.MSG_DONTWAIT)
        strangers += socket.socketpair()
    publish(broadcaster, seq + 1)
    assert ending.outgoing.gone and ending.outgoing.file is None, (end, unsent)
    for each in strangers:
        with pytest.raises(BlockingIOError):
            each.recv(1, socket.MSG_DONTWAIT)
    for each in strangers:
        each.close()
    assert await other.messages(1) == [f"deleted {seq + 1}"]


@in_all_ways
async def test_nothing_after_the_close_frame(broadcaster: Broadcaster) -> None:
    """A live client that is told goodbye gets no event after its close frame, while the others go on."""
    async with client(broadcaster) as ending, client(broadcaster) as other:
        publish(broadcaster, 1)
        ending.outgoing.close(1001, "bye")
        publish(broadcaster, 2)
        assert await other.messages(2) == ["deleted 1", "deleted 2"]
        assert await ending.messages(1) == ["deleted 1"]
        assert ending.theirs.recv(1000, socket.MSG_DONTWAIT) == close_frame(1001, "bye")


@in_all_ways
async def test_a_closed_subscription_stays_closed(broadcaster: Broadcaster) -> None:
    """Commands that are read after the end do not make it live again."""
    async with client(broadcaster) as ending:
        ending.subscription.close()
        ending.subscription.add("b", None)
        ending.subscription.remove("a")
        publish(broadcaster, 1)
        assert not ending.subscription.live and not broadcaster.everyone
        with pytest.raises(BlockingIOError):
            ending.theirs.recv(1, socket.MSG_DONTWAIT)
