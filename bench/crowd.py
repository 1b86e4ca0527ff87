"""Many WebSocket clients in one process, as cheap as can be: bytes are counted, hardly parsed."""

import asyncio
from collections.abc import Callable

MARK = b'"type":"note"'
CAUGHT_UP = b'"type":"caught_up"'


class Reader(asyncio.Protocol):
    """A client that counts the notes it gets. Pausing it leaves its data in the kernel's buffers, then the hub's."""

    def __init__(self, request: bytes, keep: bool = False) -> None:
        self.notes = 0
        self.caught_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.welcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.kept: list[bytes] = []
        self.on_data: Callable[[Reader], None] | None = None
        self._keep = keep
        self._request = request
        self._tail = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or transport
        self.transport = transport  # type: ignore[assignment]
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        # A mark that two pieces share is counted with the second one.
        joined = self._tail + data
        self.notes += joined.count(MARK)
        if not self.welcome.done() and b'"type":"welcome"' in joined:
            self.welcome.set_result(None)
        if not self.caught_up.done() and CAUGHT_UP in joined:
            self.caught_up.set_result(None)
        self._tail = joined[-(len(MARK) - 1) :]
        if self._keep:
            self.kept.append(data)
        if self.on_data:
            self.on_data(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)


def request(path: str) -> bytes:
    """The handshake of a WebSocket client."""
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    return f"GET {path} HTTP/1.1\r\nHost: hub\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{key}\r\n".encode()


async def connect(address: str, path: str, keep: bool = False) -> Reader:
    """A client that has received its welcome."""
    host, port = address.removeprefix("http://").split(":")
    _, reader = await asyncio.get_running_loop().create_connection(lambda: Reader(request(path), keep), host, int(port))
    await reader.welcome
    return reader
