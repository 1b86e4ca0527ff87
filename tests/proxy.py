"""A TCP proxy in front of Postgres that can do what networks and poolers do to a connection."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

NOTES = b"channel_note\0"


class Proxy:
    """Passes bytes both ways until told otherwise; `url` leads through it."""

    def __init__(self, url: str) -> None:
        self._database = urlsplit(url).path
        self.lead_to(url)
        self._writers: set[asyncio.StreamWriter] = set()
        self.open = asyncio.Event()  # cleared: a black hole, nothing gets through and nobody is told
        self.open.set()
        self._stranded: list[asyncio.Event] = []
        self.drop_notifications = False
        self.drop_share = 0.0  # of the notifications on the channel of notes, by chance
        self.random = random.Random()
        self.dropped = 0
        self.bytes_per_second: float | None = None  # of each connection, each way
        self.refuse = False
        self.port = 0

    @property
    def url(self) -> str:
        """The database through the proxy."""
        return f"postgresql://postgres@127.0.0.1:{self.port}{self._database}?sslmode=disable"

    def lead_to(self, url: str) -> None:
        """Let connections that are made from now on lead to another server."""
        self._socket = parse_qs(urlsplit(url).query)["host"][0] + "/.s.PGSQL.5432"

    def cut(self) -> None:
        """Break all connections, as a router that restarts."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    def strand(self) -> None:
        """From now on nothing gets through the present connections and nobody is told; new ones work."""
        self.open.clear()
        self._stranded.append(self.open)
        self.open = asyncio.Event()
        self.open.set()

    def heal(self) -> None:
        """Pass everything on again."""
        self.drop_notifications = self.refuse = False
        self.drop_share, self.bytes_per_second = 0.0, None
        self.open.set()

    def close(self) -> None:
        """Break all connections, the stranded ones too."""
        self.cut()
        for gate in (self.open, *self._stranded):
            gate.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuse:
            writer.transport.abort()
            return
        await self.open.wait()
        gate = self.open
        try:
            server_reader, server_writer = await asyncio.open_unix_connection(self._socket)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, server_writer}
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._to_server(gate, reader, server_writer))
                tasks.create_task(self._to_client(gate, server_reader, writer))
        except* (ConnectionError, asyncio.IncompleteReadError):
            pass  # one side went: the other goes with it
        finally:
            for each in (writer, server_writer):
                each.transport.abort()
                self._writers.discard(each)

    async def _to_server(self, gate: asyncio.Event, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            await self._pass(data, gate, writer)
        raise ConnectionError("the client left")

    async def _to_client(self, gate: asyncio.Event, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Each message is a type byte and a length that counts itself (Postgres manual, 54.2).
        while True:
            head = await reader.readexactly(5)
            body = await reader.readexactly(int.from_bytes(head[1:], "big") - 4)
            if head[:1] == b"A" and self._drops(body):
                self.dropped += 1
                continue
            await self._pass(head + body, gate, writer)

    def _drops(self, body: bytes) -> bool:
        """Whether a NotificationResponse is lost; its body is a process id, the channel and the payload."""
        if self.drop_notifications:
            return True
        return bool(self.drop_share) and body.startswith(NOTES, 4) and self.random.random() < self.drop_share

    async def _pass(self, data: bytes, gate: asyncio.Event, writer: asyncio.StreamWriter) -> None:
        if self.bytes_per_second:
            await asyncio.sleep(len(data) / self.bytes_per_second)
        await gate.wait()
        if writer.transport.is_closing():
            raise ConnectionError("the other side left")
        writer.write(data)
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
        proxy.close()
        await server.wait_closed()
