"""uWebSockets through socketify: every client subscribes to a topic, and each note is published to it.

As in socketify's examples of WebSockets: `ws.subscribe` in `open`, `app.publish` for all, compression
off, a ping before `idle_timeout` is over. asyncpg runs on the asyncio loop that socketify drives beside its own,
started in `on_start`. A client that lags is dropped from, not closed, above `max_backpressure`; the
limit is 16 MB instead of 64 KB, so that a burst reaches everybody.
"""

import os

import asyncpg
from socketify import App, AppListenOptions, CompressOptions, OpCode

TOPIC = "notes"
app = App()


def publish(connection, pid, channel, payload):
    app.publish(TOPIC, payload, OpCode.TEXT)


@app.on_start
async def start():
    app.database = await asyncpg.connect(os.environ["DATABASE_URL"])
    await app.database.add_listener("channel_note", publish)


app.ws(
    "/",
    {
        "compression": CompressOptions.DISABLED,
        "idle_timeout": 60,
        "send_pings_automatically": True,
        "max_backpressure": 16 * 1024 * 1024,
        "open": lambda ws: ws.subscribe(TOPIC),
    },
)
app.listen(AppListenOptions(port=int(os.environ["PORT"]), host="127.0.0.1"), lambda config: print("ready", flush=True))
app.run()
