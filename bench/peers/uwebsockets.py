"""uWebSockets through socketify again, with its loop waited for instead of asked all the time.

socketify's own `run` calls libuv's loop from asyncio's without a pause while there is anything to do, and that
is most of what it costs. No documentation of socketify shows this way: it is what libuv's manual advises for
embedding its loop in another one, which is to watch `uv_backend_fd`. So this is uWebSockets at its best, on
uvloop; `socketify.py` is the documented way, and says what else is set. Whoever publishes turns the
loop once per turn of asyncio's; the pause is for libuv's timers and for sockets that it has not begun to watch.
"""

import asyncio
import os

import asyncpg
import uvloop
from cffi import FFI
from socketify import App, AppListenOptions, CompressOptions, OpCode
from socketify.native import library_path

TOPIC = "notes"
PAUSE = 0.05  # seconds


async def main():
    app = App(lifespan=False)
    loop = asyncio.get_running_loop()
    due = False

    def turn():
        nonlocal due
        due = False
        app.loop.uv_loop.run_nowait()

    def publish(connection, pid, channel, payload):
        nonlocal due
        app.publish(TOPIC, payload, OpCode.TEXT)
        if not due:
            due = True
            loop.call_soon(turn)

    database = await asyncpg.connect(os.environ["DATABASE_URL"])
    await database.add_listener("channel_note", publish)
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
    options = AppListenOptions(port=int(os.environ["PORT"]), host="127.0.0.1")
    app.listen(options, lambda config: print("ready", flush=True))
    loop.add_reader(backend_fd(app), turn)
    while True:
        turn()
        await asyncio.sleep(PAUSE)


def backend_fd(app):
    """What becomes readable when libuv's loop has something to do."""
    ffi = FFI()
    ffi.cdef("int uv_backend_fd(void *);")
    return ffi.dlopen(library_path).uv_backend_fd(app.loop.uv_loop.get_native_loop())


with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main())
