"""Starlette with broadcaster on uvicorn, as the README of broadcaster has it.

The README's example subscribes each WebSocket to a channel of Postgres and copies what comes. Two
things differ. Starlette takes a lifespan instead of `on_startup` since 1.0. And one subscription is
held from the start, because broadcaster 0.3.1 loses all but one of those that subscribe to a channel
while it is still starting to LISTEN; it also makes "ready" true. Of uvicorn, everything that
`uvicorn[standard]` brings and chooses by itself: uvloop, httptools, websockets.
"""

import asyncio
import contextlib
import os

import anyio
import uvicorn
from broadcaster import Broadcast
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute

CHANNEL = "channel_note"
broadcast = Broadcast(os.environ["DATABASE_URL"])


async def notes(websocket):
    async with broadcast.subscribe(CHANNEL) as subscriber:
        await websocket.accept()
        async with anyio.create_task_group() as tasks:

            async def receive():
                async for _ in websocket.iter_text():
                    pass
                tasks.cancel_scope.cancel()

            tasks.start_soon(receive)
            async for event in subscriber:
                await websocket.send_text(event.message)


async def hold(listening):
    async with broadcast.subscribe(CHANNEL) as subscriber:
        listening.set()
        async for _ in subscriber:
            pass


@contextlib.asynccontextmanager
async def lifespan(app):
    listening = asyncio.Event()
    async with broadcast, anyio.create_task_group() as tasks:
        tasks.start_soon(hold, listening)
        await listening.wait()
        yield
        tasks.cancel_scope.cancel()


class Server(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        print("ready", flush=True)


app = Starlette(routes=[WebSocketRoute("/", notes)], lifespan=lifespan)
config = uvicorn.Config(app, port=int(os.environ["PORT"]), ws_per_message_deflate=False, log_level="warning")
Server(config).run()
