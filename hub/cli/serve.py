"""The command ``serve``.

Owns the order of a start: signals, port, database, schema, then one hub in this process or a supervisor with its
workers.
"""

import asyncio
import socket

import click
import msgspec
import structlog

from hub import process
from hub.cli.databases import database
from hub.cli.options import options
from hub.cli.run import run
from hub.postgres import migrations
from hub.server import app
from hub.settings import Settings
from hub.workers import supervisor
from hub.workers.sockets import bound

log = structlog.get_logger()


@click.command()
@options()
def serve(settings: Settings) -> None:
    """Run the hub.

    \b
    Examples:
      notes-hub serve
      notes-hub serve --port 9000 --data-dir ~/notes
      DATABASE_URL=postgresql://hub:secret@db/notes notes-hub serve --host 0.0.0.0
      notes-hub serve --workers 4
    """
    run(_serve(settings))


async def _serve(settings: Settings) -> None:
    stop = process.prepare()
    if not settings.on_loopback:
        log.warning("no_authentication", host=settings.host, hint="Whoever reaches this port can read and write notes.")
    async with bound(settings) as sockets_by_worker, database(settings, create=True) as url:
        await process.until(stop, migrations.wait_and_migrate(url))
        if stop.is_set():
            return
        if settings.workers > 1:
            await supervisor.serve(msgspec.structs.replace(settings, database_url=url), sockets_by_worker, stop)
        else:
            await _serve_alone(settings, url, sockets_by_worker[0], stop)


async def _serve_alone(settings: Settings, url: str, sockets: list[socket.socket], stop: asyncio.Event) -> None:
    async with app.serving(settings, url, sockets) as (_, address):
        log.info("serving", address=address, websocket=address.replace("http", "ws", 1) + "/ws")
        await stop.wait()
        log.info("stopping")
