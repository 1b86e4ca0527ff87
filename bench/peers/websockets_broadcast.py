"""`websockets` with its `broadcast()`, as its guide on broadcasting advises for one message to many.

The guide keeps the connections in a set and calls `broadcast()`, which encodes the text once and waits
for no client; `asyncio` is replaced by uvloop. The callback of asyncpg is a plain function, so that the
order stays. Compression is off, the other settings are as they come: a ping every 20 seconds.
"""

import asyncio
import os

import asyncpg
import uvloop
from websockets.asyncio.server import broadcast, serve

CLIENTS = set()


async def handler(websocket):
    CLIENTS.add(websocket)
    try:
        await websocket.wait_closed()
    finally:
        CLIENTS.remove(websocket)


def on_note(connection, pid, channel, payload):
    broadcast(CLIENTS, payload)


async def main():
    database = await asyncpg.connect(os.environ["DATABASE_URL"])
    await database.add_listener("channel_note", on_note)
    async with serve(handler, "127.0.0.1", int(os.environ["PORT"]), compression=None, backlog=2048) as server:
        print("ready", flush=True)
        await server.serve_forever()


with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main())
