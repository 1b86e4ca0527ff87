"""The command ``notes-hub``: gathers all commands, and is itself ``serve``."""

import msgspec
import structlog

from hub import process
from hub.cli import clients as command_client
from hub.cli import databases as command_database
from hub.cli.options import main, options, run
from hub.postgres import migrations
from hub.server import app
from hub.settings import Settings
from hub.workers import supervisor as workers

__all__ = ["command_client", "command_database", "main", "serve"]

log = structlog.get_logger()


@main.command()
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
    async with command_database.database(settings) as url:
        await process.until(stop, migrations.wait_and_migrate(url))
        if stop.is_set():
            return
        if settings.workers > 1:
            await workers.serve(msgspec.structs.replace(settings, database_url=url), stop)
            return
        async with app.serving(settings, url) as (_, address):
            log.info("serving", address=address, websocket=address.replace("http", "ws", 1) + "/ws")
            await stop.wait()
            log.info("stopping")
