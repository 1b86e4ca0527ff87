"""One call of the kernel's for many sends: what arrives, what does not fit, and when it is not used."""

import ctypes
import errno
import os
import socket
from array import array
from collections.abc import Iterator

import pytest

from hub.delivery.io_uring import ENTRIES, Uring
from hub.protocol import Note, Welcome
from hub.server import app
from tests.conftest import connect


def kernel_has_it() -> bool:
    """Whether this machine has what is tested, asked without what is tested."""
    try:
        ring = ctypes.CDLL(None).syscall(425, 1, ctypes.create_string_buffer(120))
    except AttributeError:
        return False
    if ring >= 0:
        os.close(ring)
    return ring >= 0


needs_uring = pytest.mark.skipif(not kernel_has_it(), reason="this kernel has no io_uring for us")


@pytest.fixture
def ring() -> Iterator[Uring]:
    with Uring() as ring:
        yield ring


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    with ours, theirs:
        yield ours, theirs


def receive(theirs: socket.socket, size: int) -> bytes:
    """So many bytes, and no more than these are there."""
    received = b""
    while len(received) < size:
        received += theirs.recv(size - len(received))
    with pytest.raises(BlockingIOError):
        theirs.recv(1, socket.MSG_DONTWAIT)
    return received


def numbers(*sockets: socket.socket) -> "array[int]":
    return array("i", [each.fileno() for each in sockets])


@needs_uring
def test_everyone_gets_all(ring: Uring) -> None:
    """The same bytes reach every socket, whatever was sent before and of whatever size it was."""
    pairs = [socket.socketpair() for _ in range(50)]
    sent = b""
    for size in (1, 200, 200, 7, 3000):
        data = bytes([size % 251]) * size
        assert ring.send(numbers(*(ours for ours, _ in pairs)), data) == []
        sent += data
    for ours, theirs in pairs:
        assert theirs.recv(10_000, socket.MSG_DONTWAIT) == sent
        ours.close()
        theirs.close()


@needs_uring
def test_more_than_one_call_holds(ring: Uring, pair: tuple[socket.socket, socket.socket]) -> None:
    """However many there are, and wherever the queues begin again, each is sent to once."""
    ours, theirs = pair
    for number, count in enumerate((ENTRIES - 1, 3, 2 * ENTRIES + 500, 700, ENTRIES, 1)):
        assert ring.send(numbers(ours) * count, b"%03d" % number) == []
        assert receive(theirs, 3 * count) == b"%03d" % number * count
    with socket.socket() as closed:
        files = numbers(ours) * 1500 + numbers(closed)
    assert ring.send(files, b"x") == [(1500, 0)]


@needs_uring
def test_what_does_not_fit(ring: Uring, pair: tuple[socket.socket, socket.socket]) -> None:
    """A socket that is full takes a part or nothing, which is told exactly, and holds up nobody."""
    ours, theirs = pair
    others = [socket.socketpair() for _ in range(2)]
    files = numbers(others[0][0], ours, others[1][0])
    taken = 0
    for _ in range(100):
        short = ring.send(files, b"x" * 50_000)
        assert all(other.recv(60_000, socket.MSG_DONTWAIT) == b"x" * 50_000 for _, other in others)
        taken += short[0][1] if short else 50_000
        if short == [(1, 0)]:
            break
    assert short == [(1, 0)]
    assert receive(theirs, taken) == b"x" * taken
    for each in (each for pair in others for each in pair):
        each.close()


@needs_uring
def test_those_that_are_gone(ring: Uring, pair: tuple[socket.socket, socket.socket]) -> None:
    """A socket whose other end is closed, or that is none, took nothing; the others get all."""
    ours, theirs = pair
    lost, gone = socket.socketpair()
    gone.close()
    closed = socket.socket()
    files = numbers(lost, ours, closed, ours)
    closed.close()
    assert ring.send(files, b"note") == [(0, 0), (2, 0)]
    assert receive(theirs, 8) == b"notenote"
    lost.close()


@needs_uring
def test_a_call_that_fails(ring: Uring, pair: tuple[socket.socket, socket.socket], monkeypatch) -> None:
    """When the kernel takes no sends, nobody got any, and nobody gets one later for another's."""
    ours, theirs = pair
    other, silent = socket.socketpair()

    def refuse(*_: object) -> int:
        raise OSError(errno.EAGAIN, "no memory")

    with monkeypatch.context() as patch:
        patch.setattr(ring, "_call", refuse)
        assert ring.send(numbers(ours, ours, other), b"lost") == [(0, 0), (1, 0), (2, 0)]
    for number in range(4):
        assert ring.send(numbers(ours, ours), b"%d" % number) == []
    assert receive(theirs, 8) == b"00112233"
    with pytest.raises(BlockingIOError):
        silent.recv(1, socket.MSG_DONTWAIT)
    other.close()
    silent.close()


@needs_uring
def test_a_wait_that_is_broken_off(ring: Uring, pair: tuple[socket.socket, socket.socket], monkeypatch) -> None:
    """What became of a send is waited for, however often a signal comes in between."""
    ours, theirs = pair
    collect, calls = ring._collect, iter(range(10))
    monkeypatch.setattr(ring, "_collect", lambda: collect() if next(calls) else b"")
    assert ring.send(numbers(ours, ours), b"note") == []
    assert receive(theirs, 8) == b"notenote"


@needs_uring
def test_a_kernel_that_waits(monkeypatch) -> None:
    """Where a send to a full socket would be kept to be done later, there is no ring: it could overtake."""
    monkeypatch.setattr(socket, "MSG_DONTWAIT", 0)
    with pytest.raises(OSError, match="otherwise than send"):
        Uring()


def test_a_machine_without(monkeypatch) -> None:
    """Without io_uring there is an error that says why, and nothing stays open."""
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(OSError, match="x86_64"):
        Uring()


@needs_uring
async def test_a_hub_uses_it(monkeypatch, start_hub) -> None:
    """A hub sends live notes through its ring, unless it is told not to."""
    sent = []
    send = Uring.send
    monkeypatch.setattr(Uring, "send", lambda *given: sent.append(given[2]) or send(*given))
    monkeypatch.setattr("hub.delivery.fanout.WORTH_IT", 1)
    for used in (True, False):
        async with start_hub(io_uring=used) as (_, address), connect(address, "/ws?topic=a") as client:
            await client.until(Welcome)
            await client.send('{"topic":"a","username":"gb","body":"hello"}')
            assert (await client.until(Note)).body == "hello"
        assert [b'"body":"hello"' in data for data in sent] == [True] * used
        sent.clear()


async def test_a_hub_without(monkeypatch, start_hub) -> None:
    """A hub whose kernel refuses io_uring serves its clients all the same."""

    def refuse() -> Uring:
        raise OSError(errno.EPERM, "not permitted")

    monkeypatch.setattr(app, "Uring", refuse)
    monkeypatch.setattr("hub.delivery.fanout.WORTH_IT", 1)
    async with start_hub() as (_, address), connect(address) as client:
        await client.send('{"username":"gb","body":"hello"}')
        assert (await client.until(Note)).body == "hello"


@needs_uring
def test_a_call_that_always_fails(ring: Uring, pair: tuple[socket.socket, socket.socket], monkeypatch) -> None:
    """What the kernel refuses for good is not tried again."""
    calls = []

    def refuse(*given: object) -> int:
        calls.append(given)
        raise OSError(errno.EPERM, "not permitted")

    monkeypatch.setattr(ring, "_call", refuse)
    assert ring.send(numbers(*pair), b"lost") == [(0, 0), (1, 0)]
    assert not ring.usable and len(calls) == 1


@needs_uring
def test_nothing_stays_open(monkeypatch) -> None:
    """A ring that is closed, or could not be had, leaves no file open."""

    def files() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = files()
    ring = Uring()
    assert files() > before
    ring.close()
    assert files() == before
    monkeypatch.setattr(socket, "MSG_DONTWAIT", 0)
    with pytest.raises(OSError, match="otherwise") as raised:
        Uring()
    assert raised and files() == before
