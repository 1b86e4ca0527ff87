"""The commands that work on the database itself, with or without a hub.

Owns ``migrate``, ``listen``, ``database-url``, ``psql``, ``check`` and ``prune``, and the choice of the database for
``serve``. All SQL is `hub.postgres`'s. `hub.embedded` is imported where it is used: it needs Linux or macOS, and a
command that is given a database does not.
"""

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import click
import structlog

from hub.cli.options import options
from hub.cli.run import errors_in_one_line, run
from hub.errors import DatabaseError, EmbeddedError
from hub.postgres import check as checks
from hub.postgres import migrations
from hub.postgres.address import address
from hub.postgres.notifications import CHANNEL
from hub.postgres.pool import connect, hub_errors
from hub.postgres.store import Store
from hub.settings import Settings, unknown

log = structlog.get_logger()

DATABASE = ("database_url", "data_dir")
PRUNE_BATCH = 10_000  # events that one statement trims


@contextlib.asynccontextmanager
async def database(settings: Settings, *, create: bool = False) -> AsyncIterator[str]:
    """The URL that the settings name; without one, the URL of the embedded Postgres, which runs during the block.

    Raises EmbeddedError when that cannot run, or when it has no database yet and is not to `create` one.
    """
    if settings.database_url:
        yield settings.database_url
        return
    from hub import embedded

    if not embedded.exists(settings.data_path):
        if not create:
            raise _nothing_there(settings)
        log.info("new_database", data_dir=str(settings.data_path))
    async with embedded.running(settings.data_path) as url:
        yield url


def _nothing_there(settings: Settings) -> EmbeddedError:
    return EmbeddedError(
        f"There is no database in {settings.data_path}: cd to the folder of your hub, or give --data-dir or "
        "DATABASE_URL (`notes-hub serve` makes a new database)."
    )


@contextlib.asynccontextmanager
async def connected(settings: Settings, *, create: bool = False) -> AsyncIterator[tuple[str, asyncpg.Connection]]:
    """The database's URL and one connection to it. What asyncpg raises becomes Unavailable or DatabaseError."""
    async with database(settings, create=create) as url:
        with hub_errors():
            connection = await connect(url)
            try:
                yield url, connection
            finally:
                connection.terminate()


async def _need_schema(url: str, connection: asyncpg.Connection) -> None:
    """Raise DatabaseError unless the database has the schema of this version of the hub."""
    if lacking := await migrations.missing(connection):
        what = "has no notes yet" if lacking[0] == 1 else f"lacks version {lacking[0]} of the schema"
        raise DatabaseError(
            f"{address(url)} {what}. Run notes-hub migrate, or correct DATABASE_URL if it is the wrong one."
        )


@click.command()
@options(*DATABASE)
def migrate(settings: Settings) -> None:
    """Bring the database to this schema.

    `serve` does the same when it starts.

    \b
    Example:
      DATABASE_URL=postgresql://owner@db/notes notes-hub migrate
    """

    async def work() -> None:
        async with connected(settings, create=True) as (_, connection):
            versions = await migrations.migrate(connection)
        where = "" if settings.database_url else f" in {settings.data_path}"
        applied = f"applied {', '.join(map(str, versions))}{where}"
        click.echo(applied if versions else "nothing to do: the schema is up to date")

    run(work())


@click.command()
@options(*DATABASE)
def listen(settings: Settings) -> None:
    """Print notifications of Postgres itself.

    Until Ctrl-C, and without a hub.

    \b
    Example:
      notes-hub listen
      Got NOTIFY: 4711 channel_note {"rowid":1,"username":"gb",...}
    """

    async def work() -> None:
        ended = asyncio.Event()
        async with connected(settings) as (url, connection):
            await _need_schema(url, connection)
            connection.add_termination_listener(lambda _: ended.set())
            await connection.add_listener(
                CHANNEL, lambda _, pid, channel, payload: click.echo(f"Got NOTIFY: {pid} {channel} {payload}")
            )
            click.echo(f"Listening on {CHANNEL}; Ctrl-C ends.", err=True)
            await ended.wait()
        raise DatabaseError("Postgres ended the connection.")

    run(work())


@click.command("database-url")
@options(*DATABASE)
def database_url(settings: Settings) -> None:
    """Print the URL of the database.

    As psql and other programs take it.

    \b
    Example:
      psql "$(notes-hub database-url)"
    """
    with errors_in_one_line():
        if settings.database_url:
            address(settings.database_url)
            click.echo(settings.database_url)
            return
        from hub import embedded

        if not embedded.exists(settings.data_path):
            raise _nothing_there(settings)
        if not embedded.is_running(settings.data_path):
            click.echo("It does not run now; `notes-hub serve` starts it.", err=True)
        click.echo(embedded.database_url(settings.data_path))


@click.command(context_settings={"ignore_unknown_options": True})
@options(*DATABASE)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def psql(settings: Settings, arguments: tuple[str, ...]) -> None:
    """Open the database in psql; what follows is psql's.

    \b
    Examples:
      notes-hub psql
      notes-hub psql -c "SELECT * FROM note"
    """

    async def work() -> int:
        from hub.embedded import binary

        # At Ctrl-C psql ends a query. The signal must end neither this process nor a Postgres that it has started.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        async with connected(settings) as (url, _):
            process = await asyncio.create_subprocess_exec(
                binary("psql"),
                url,
                *arguments,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
            return await process.wait()

    run(work())


@click.command()
@options(*DATABASE)
def check(settings: Settings) -> None:
    """Say what is wrong with the database.

    Looks at the settings too; exits with 1 if anything is wrong.

    \b
    Example:
      DATABASE_URL=postgresql://hub@pooler:6432/notes notes-hub check
    """

    async def work() -> int:
        async with connected(settings) as (url, connection):
            store = Store(url, 1)
            await store.open()
            try:
                found = await checks.run(connection, store)
            finally:
                await store.close()
        found += [checks.Finding(False, f"{name} is set but is no setting.") for name in unknown(os.environ)]
        for finding in found:
            click.echo(f"{'ok ' if finding.fine else '!! '} {finding.text}")
        return 0 if all(finding.fine for finding in found) else 1

    run(work())


@click.command()
@click.option("--older-than", "age", required=True, metavar="AGE", help="Such as 90d, 12h or 30m.")
@options(*DATABASE)
def prune(settings: Settings, age: str) -> None:
    """Trim the log, not the notes.

    Clients whose cursor is older start afresh, with a snapshot.

    \b
    Example:
      notes-hub prune --older-than 90d
    """
    match = re.fullmatch(r"(\d+)([dhm])", age)
    if match is None:
        raise click.ClickException(f"--older-than is {age!r}: write a number and d, h or m, as in 90d")
    unit = {"d": "days", "h": "hours", "m": "minutes"}[match[2]]
    try:
        before = datetime.now(UTC) - timedelta(**{unit: int(match[1])})
    except OverflowError as error:
        raise click.ClickException(f"--older-than is {age!r}: that reaches back before all calendars") from error

    async def work() -> None:
        async with connected(settings) as (url, connection):
            await _need_schema(url, connection)
            store = Store(url, 1)
            await store.open()
            gone = 0
            try:
                while batch := await store.prune(before, PRUNE_BATCH):
                    gone += batch
            finally:
                await store.close()
        click.echo(f"{gone} events trimmed; cursors from before {before:%Y-%m-%d %H:%M} UTC start afresh")

    run(work())
