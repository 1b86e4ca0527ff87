"""Many receiving clients in one process, as cheap as can be: bytes are counted, hardly parsed.

Owns the connection of one client, WebSocket or HTTP stream, and how thousands of them are made. All
share one buffer, into which the kernel copies what came and which is read at once.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable

MARK = b'"type":"note"'
CAUGHT_UP = b'"type":"caught_up"'
WELCOME = b'"type":"welcome"'
HEADERS_END = b"\r\n\r\n"  # of an HTTP stream, which has no welcome
PING, PONG = b"\x89\x00", b"\x8a\x80\x00\x00\x00\x00"  # no text of ours holds the first
LONGEST = max(map(len, (MARK, CAUGHT_UP, WELCOME))) - 1
AT_ONCE = 200  # connections that are being made at a time

_buffer = bytearray(1 << 20)
_view = memoryview(_buffer)


class Reader(asyncio.BufferedProtocol):
    """A client that counts the notes it gets. Pausing it leaves its data in the kernel's buffers, then the hub's."""

    def __init__(self, request: bytes, keep: bool = False) -> None:
        loop = asyncio.get_running_loop()
        self.notes = 0
        self.welcome: asyncio.Future[None] = loop.create_future()
        self.caught_up: asyncio.Future[None] = loop.create_future()  # stays open without `after` or `last`
        self.lost: asyncio.Future[None] = loop.create_future()
        self.kept: list[bytes] = []
        self.on_data: Callable[[bytes], None] | None = None
        self.transport: asyncio.Transport
        self._keep = keep
        self._request = request
        self._expects = {WELCOME if b"Upgrade:" in request else HEADERS_END: self.welcome}
        if b"after=" in request or b"last=" in request:
            self._expects[CAUGHT_UP] = self.caught_up
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.transport.write(self._request)

    def get_buffer(self, _: int) -> memoryview:
        return _view

    def buffer_updated(self, size: int) -> None:
        if _buffer.find(PING, 0, size) >= 0:
            self.transport.write(PONG)
        if self._tail or self._expects or self._keep or self.on_data:
            self._look(bytes(_view[:size]))
        else:
            self.notes += _buffer.count(MARK, 0, size)
            if _buffer[size - 1] not in b"}\n":  # where a message ends, no mark is cut
                self._tail = bytes(_view[max(0, size - LONGEST) : size])

    def _look(self, data: bytes) -> None:
        # A mark that two pieces share is found with the second one; what was counted of it before is taken off.
        joined = self._tail + data
        self.notes += joined.count(MARK) - self._tail.count(MARK)
        for mark in [mark for mark in self._expects if mark in joined]:
            self._expects.pop(mark).set_result(None)
        self._tail = b"" if joined[-1] in b"}\n" else joined[-LONGEST:]
        if self._keep:
            self.kept.append(data)
        if self.on_data:
            self.on_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)
        for future in self._expects.values():
            if not future.done():
                future.set_exception(exc or ConnectionResetError("the hub closed the connection"))
                future.exception()  # seen, even if nobody waits for it


def request(path: str) -> bytes:
    """The handshake of a WebSocket client."""
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{key}\r\n".encode()


async def connect(address: str, path: str | bytes, keep: bool = False) -> Reader:
    """A client that has received its welcome: of a WebSocket's path, or of a whole HTTP request."""
    host, port = address.removeprefix("http://").split(":")
    ask = path if isinstance(path, bytes) else request(path)
    _, reader = await asyncio.get_running_loop().create_connection(lambda: Reader(ask, keep), host, int(port))
    await reader.welcome
    return reader


@contextlib.asynccontextmanager
async def crowd(address: str, paths: Iterable[str | bytes]) -> AsyncIterator[list[Reader]]:
    """Clients that have received their welcome; their connections are cut with the block."""
    todo, readers = iter(paths), list[Reader]()

    async def some() -> None:
        for path in todo:
            readers.append(await connect(address, path))

    try:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(some())
        yield readers
    finally:
        for each in readers:
            each.transport.abort()


async def received(readers: Iterable[Reader], notes: int, seconds: float = 300) -> None:
    """Wait until each client has that many notes. Raises TimeoutError, AssertionError if one has more."""
    async with asyncio.timeout(seconds):
        for each in readers:
            while each.notes < notes:
                await asyncio.sleep(0.002)
    assert all(each.notes == notes for each in readers), "a client received a note twice"
