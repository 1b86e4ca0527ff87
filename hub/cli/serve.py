"""The command ``serve``.

Owns the order of a start: signals, database, schema, then one hub in this process or a supervisor with its workers.
"""

import asyncio

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
    async with database(settings, create=True) as url:
        await process.until(stop, migrations.wait_and_migrate(url))
        if stop.is_set():
            return
        if settings.workers > 1:
            await supervisor.serve(msgspec.structs.replace(settings, database_url=url), stop)
        else:
            await _serve_alone(settings, url, stop)


async def _serve_alone(settings: Settings, url: str, stop: asyncio.Event) -> None:
    async with app.serving(settings, url) as (_, address):
        log.info("serving", address=address, websocket=address.replace("http", "ws", 1) + "/ws")
        await stop.wait()
        log.info("stopping")
