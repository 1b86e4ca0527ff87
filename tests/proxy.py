"""A TCP proxy in front of Postgres that can do what networks and poolers do to a connection."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit


class Proxy:
    """Passes bytes both ways until told otherwise; `url` leads through it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket = parse_qs(parts.query)["host"][0] + "/.s.PGSQL.5432"
        self._database = parts.path
        self._writers: set[asyncio.StreamWriter] = set()
        self.open = asyncio.Event()  # cleared: a black hole, nothing gets through and nobody is told
        self.open.set()
        self.drop_notifications = False
        self.dropped = 0
        self.refuse = False
        self.port = 0

    @property
    def url(self) -> str:
        """The database through the proxy."""
        return f"postgresql://postgres@127.0.0.1:{self.port}{self._database}?sslmode=disable"

    def cut(self) -> None:
        """Break all connections, as a router that restarts."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuse:
            writer.transport.abort()
            return
        await self.open.wait()
        try:
            server_reader, server_writer = await asyncio.open_unix_connection(self._socket)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, server_writer}
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._to_server(reader, server_writer))
                tasks.create_task(self._to_client(server_reader, writer))
        except* (ConnectionError, asyncio.IncompleteReadError):
            pass  # one side went: the other goes with it
        finally:
            for each in (writer, server_writer):
                each.transport.abort()
                self._writers.discard(each)

    async def _to_server(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            await self.open.wait()
            writer.write(data)
            await writer.drain()
        raise ConnectionError("the client left")

    async def _to_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Each message is a type byte and a length that counts itself (Postgres manual, 54.2).
        while True:
            head = await reader.readexactly(5)
            body = await reader.readexactly(int.from_bytes(head[1:], "big") - 4)
            await self.open.wait()
            if head[:1] == b"A" and self.drop_notifications:
                self.dropped += 1
                continue
            writer.write(head + body)
            await writer.drain()


@contextlib.asynccontextmanager
async def proxied(url: str) -> AsyncIterator[Proxy]:
    """A running proxy in front of the database at `url`."""
    proxy = Proxy(url)
    server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.open.set()
        proxy.cut()
        await server.wait_closed()
