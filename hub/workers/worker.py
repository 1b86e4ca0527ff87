"""One worker process, as the supervisor starts it (``python -m hub.workers.worker``).

Owns the line between supervisor and worker: a worker reads its Orders as one line of JSON from standard input, and
writes one line to standard output, which is READY or the reason why it fails. It ends when it is told to, and when the
supervisor is gone. The hub itself is `hub.server.app`'s.
"""

import asyncio
import contextlib
import functools
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
from hub.workers import stats

log = structlog.get_logger()

READY = "ready"


class Orders(msgspec.Struct):
    """What the supervisor tells a worker."""

    settings: Settings
    number: int  # from 1; it names the worker in logs and metrics
    sockets: list[int]  # file numbers of the listening sockets that it inherits
    folder: str  # where the workers' sockets for counts are


def main() -> None:
    """Serve as a worker until told to stop."""
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
    threading.Thread(target=_end_with_supervisor, args=(loop, stop, orders), daemon=True).start()
    settings = orders.settings
    sockets = [socket.socket(fileno=number) for number in orders.sockets]
    sharing = functools.partial(stats.shared, Path(orders.folder), str(orders.number))
    async with app.serving(settings, settings.database_url, sockets, sharing) as (hub, _):
        await process.until(stop, hub.listener.ready.wait())
        if not stop.is_set():
            print(READY, flush=True)
        await stop.wait()
        log.info("stopping")


def _end_with_supervisor(loop: asyncio.AbstractEventLoop, stop: asyncio.Event, orders: Orders) -> None:
    """Wait for the end of standard input, which means that the supervisor is gone, then end this process, even if hung.

    A thread does this, since the signal at a parent's death (prctl(2)) exists on Linux only, and one signal cannot both
    ask gently and make sure.
    """
    while os.read(0, 1):
        pass
    with contextlib.suppress(RuntimeError):  # the loop is closed, so the process is ending already
        loop.call_soon_threadsafe(stop.set)
    shutil.rmtree(orders.folder, ignore_errors=True)
    time.sleep(patience(orders.settings))
    os._exit(1)


def patience(settings: Settings) -> float:
    """Seconds after which a worker that was told to stop counts as hung.

    Its last writes and its clients may take `shutdown_timeout` each.
    """
    return 2 * settings.shutdown_timeout + 5


if __name__ == "__main__":
    main()
