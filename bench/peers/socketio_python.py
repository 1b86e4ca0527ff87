"""python-socketio's AsyncServer on uvicorn, as its guide on servers and deployment has it.

Each note is an event whose argument is the note's object; `emit` encodes it once for all clients. Events
are emitted by one background task, one after the other, so that the order stays. Of the transports only
WebSocket, without compression; a client answers the server's pings, which come every 25 seconds.
"""

import asyncio
import json
import os

import asyncpg
import socketio
import uvicorn

sio = socketio.AsyncServer(
    async_mode="asgi",
    transports=["websocket"],
    http_compression=False,
    ping_interval=25,
    ping_timeout=20,
)
notes = asyncio.Queue()


async def emit_notes():
    while True:
        await sio.emit("note", json.loads(await notes.get()))


async def start():
    sio.emitting = sio.start_background_task(emit_notes)
    sio.database = await asyncpg.connect(os.environ["DATABASE_URL"])
    await sio.database.add_listener("channel_note", lambda connection, pid, channel, payload: notes.put_nowait(payload))


class Server(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        print("ready", flush=True)


app = socketio.ASGIApp(sio, on_startup=start)
config = uvicorn.Config(app, port=int(os.environ["PORT"]), ws_per_message_deflate=False, log_level="warning")
Server(config).run()
