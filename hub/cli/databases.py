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

from hub.cli.options import options
from hub.cli.run import errors_in_one_line, run
from hub.errors import DatabaseError
from hub.postgres import check as checks
from hub.postgres import migrations
from hub.postgres.notifications import CHANNEL
from hub.postgres.pool import connect, hub_errors
from hub.postgres.store import Store
from hub.settings import Settings, unknown

DATABASE = ("database_url", "data_dir")
PRUNE_BATCH = 10_000  # events that one statement trims


@contextlib.asynccontextmanager
async def database(settings: Settings) -> AsyncIterator[str]:
    """The URL that the settings name; without one, the URL of the embedded Postgres, which runs during the block.

    Raises EmbeddedError when that cannot run.
    """
    if settings.database_url:
        yield settings.database_url
        return
    from hub.embedded import running

    async with running(settings.data_path) as url:
        yield url


@contextlib.asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[tuple[str, asyncpg.Connection]]:
    """The database's URL and one connection to it. What asyncpg raises becomes Unavailable or DatabaseError."""
    async with database(settings) as url:
        with hub_errors():
            connection = await connect(url)
            try:
                yield url, connection
            finally:
                connection.terminate()


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
        async with connected(settings) as (_, connection):
            versions = await migrations.migrate(connection)
        click.echo(
            f"applied {', '.join(map(str, versions))}" if versions else "nothing to do: the schema is up to date"
        )

    run(work())


@click.command()
@options(*DATABASE)
def listen(settings: Settings) -> None:
    """Print notifications of Postgres itself.

    Until Ctrl-C, and without a hub.

    \b
    Example:
      notes-hub listen
      Got NOTIFY: 4711 channel_note {"rowid":1,"username":"gb","body":"hello there",...}
    """

    async def work() -> None:
        ended = asyncio.Event()
        async with connected(settings) as (_, connection):
            await migrations.migrate(connection)
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
    if settings.database_url:
        click.echo(settings.database_url)
        return
    with errors_in_one_line():
        from hub import embedded

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
      notes-hub psql -c "INSERT INTO note(username, body) VALUES ('gb', 'hello world')"
    """

    async def work() -> int:
        from hub.embedded import binary

        # At Ctrl-C psql ends a query. The signal must end neither this process nor a Postgres that it has started.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        async with connected(settings) as (url, connection):
            await migrations.migrate(connection)
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
        raise click.BadParameter(
            f"{age!r} is no age: write a number and d, h or m, as in 90d", param_hint="--older-than"
        )
    unit = {"d": "days", "h": "hours", "m": "minutes"}[match[2]]
    try:
        before = datetime.now(UTC) - timedelta(**{unit: int(match[1])})
    except OverflowError as error:
        raise click.BadParameter(f"{age} reaches back before all calendars") from error

    async def work() -> None:
        async with connected(settings) as (url, connection):
            if lacking := await migrations.missing(connection):
                where = checks.place_of(connection)
                raise DatabaseError(f"The schema of {where} lacks version {lacking[0]}. Run: notes-hub migrate")
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
