"""The command ``notes-hub``: gathers all commands, and is itself ``serve``."""

import asyncio
import contextlib
import gc
import signal
from collections.abc import Coroutine
from typing import Any

import structlog

from hub import app, command_client, command_database
from hub.command import main, options, run
from hub.settings import Settings

__all__ = ["command_client", "command_database", "main", "serve"]

log = structlog.get_logger()

# A hub allocates much and makes few cycles: with Python's own thresholds a fifth of a busy hub's time went
# into looking for them.
GC_THRESHOLD = (50_000, 20, 50)


@main.command()
@options()
def serve(settings: Settings) -> None:
    """Run the hub.

    \b
    Examples:
      notes-hub serve
      notes-hub serve --port 9000 --data-dir ~/notes
      DATABASE_URL=postgresql://hub:secret@db/notes notes-hub serve --host 0.0.0.0
    """
    run(_serve(settings))


async def _serve(settings: Settings) -> None:
    allow_many_files()
    gc.set_threshold(*GC_THRESHOLD)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with app.database(settings) as url:
        await _until(stop, app.migrate(url))
        if stop.is_set():
            return
        async with app.serving(settings, url) as (_, address):
            log.info("serving", address=address, websocket=address.replace("http", "ws", 1) + "/ws")
            await stop.wait()
            log.info("stopping")


def allow_many_files() -> None:
    """Every client is an open file: use what the system allows this process, not its lower default."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # where the hard limit is no number that may be set
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _until(stop: asyncio.Event, work: Coroutine[Any, Any, Any]) -> None:
    """Do the work, or give it up when told to stop."""
    task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
    finally:
        for each in (task, stopped):
            each.cancel()
