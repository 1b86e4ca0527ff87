"""One process that serves: alone, or as one of the workers that `workers` starts (``python -m hub.worker``).

Owns what serving asks of the process itself: its limit of open files, its garbage collection, its
signals. A worker gets its orders as a line on standard input and answers on standard output with one
line: READY, or why it has failed. It ends when it is told to, and when whoever started it is gone.
"""

import asyncio
import contextlib
import os
import shutil
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import structlog

from hub import process
from hub.errors import HubError
from hub.server import app
from hub.settings import Settings

log = structlog.get_logger()

READY = "ready"


class Orders(msgspec.Struct):
    """What a worker is told: who it is, the listening sockets that it inherits, the folder shared with its siblings."""

    settings: Settings
    number: int
    sockets: list[int]
    folder: str


def main() -> None:
    """Be a worker."""
    orders = msgspec.json.decode(sys.stdin.buffer.readline(), type=Orders)
    process.set_up_logging(orders.settings.log_level)

    def sign(_: Any, __: str, event: Any) -> Any:
        return {"worker": orders.number, **event}

    structlog.configure(processors=[sign, *structlog.get_config()["processors"]])
    try:
        sys.exit(process.run(_work(orders)))
    except HubError as error:
        print(error, flush=True)
        sys.exit(1)


async def _work(orders: Orders) -> None:
    stop = process.prepare()
    loop = asyncio.get_running_loop()
    threading.Thread(target=_watch, args=(loop, stop, orders), daemon=True).start()
    settings = orders.settings
    sockets = [socket.socket(fileno=number) for number in orders.sockets]
    place = app.Place(sockets, Path(orders.folder), str(orders.number))
    async with app.serving(settings, settings.database_url, place) as (hub, _):
        await process.until(stop, hub.listener.ready.wait())
        if not stop.is_set():
            print(READY, flush=True)
        await stop.wait()
        log.info("stopping")


def _watch(loop: asyncio.AbstractEventLoop, stop: asyncio.Event, orders: Orders) -> None:
    """Wait for the end of standard input, which is the end of whoever started us; then end too, even if hung."""
    # A thread, since a signal at the parent's death exists on Linux only and could not be both gentle and sure.
    while os.read(0, 1):
        pass
    with contextlib.suppress(RuntimeError):  # the loop is closed: we are ending already
        loop.call_soon_threadsafe(stop.set)
    shutil.rmtree(orders.folder, ignore_errors=True)
    time.sleep(patience(orders.settings))
    os._exit(1)


def patience(settings: Settings) -> float:
    """Seconds after which a worker that was told to stop has hung: its writes and its clients have their time each."""
    return 2 * settings.shutdown_timeout + 5


if __name__ == "__main__":
    main()
