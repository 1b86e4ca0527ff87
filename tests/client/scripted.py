"""A server that says what a test has it say: hubs that are newer than this client, or broken."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from aiohttp import web

from hub.protocol import Limits, Note, Welcome
from hub.protocol.codec import encode
from tests.client.test_state import NOW

Socket = web.WebSocketResponse


def welcome(seq: int, *topics: str) -> str:
    return encode(Welcome("notes.v1", "test", seq, list(topics), Limits(65536, 140, 128, 1000, 25.0))).decode()


def note(seq: int) -> str:
    return encode(Note(seq, seq, "lobby", "gb", f"note {seq}", NOW, NOW)).decode()


def says(*lines: str) -> Callable[[Socket], Awaitable[None]]:
    """A script: say these lines, then nothing more."""

    async def script(socket: Socket) -> None:
        for line in lines:
            await socket.send_str(line)
        async for _ in socket:
            pass

    return script


@contextlib.asynccontextmanager
async def scripted(*scripts: Callable[[Socket], Awaitable[Any]]) -> AsyncIterator[str]:
    """The address of a server that follows one script for each connection, and the last one for all others."""
    left = list(scripts)

    async def serve(request: web.Request) -> Socket:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await (left.pop(0) if len(left) > 1 else left[0])(socket)
        return socket

    app = web.Application()
    app.router.add_get("/ws", serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def deaf() -> AsyncIterator[str]:
    """The address of a server that takes connections and never answers."""
    done = asyncio.Event()

    async def wait(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()
        writer.close()

    server = await asyncio.start_server(wait, "127.0.0.1", 0)
    try:
        yield "http://{}:{}".format(*server.sockets[0].getsockname())
    finally:
        done.set()
        server.close()
        await asyncio.sleep(0)
