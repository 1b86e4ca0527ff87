"""The command ``notes-hub``.

Owns options, help and what a terminal shows. Every failure that a person can cause or mend ends in
one line and a non-zero exit, never a traceback.
"""

import asyncio
import contextlib
import functools
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import aiohttp
import asyncpg
import click
import msgspec
import structlog

from hub import __version__, app, check, embedded, migrations
from hub.embedded_files import EmbeddedError, binary
from hub.listener import CHANNEL, NotListening
from hub.protocol import Publish, encode
from hub.settings import Settings, SettingsError, environment_names, load, unknown
from hub.store import CONNECTION_ERRORS, Store, connect

log = structlog.get_logger()

KNOWN_ERRORS = (
    EmbeddedError,
    migrations.MigrationError,
    SettingsError,
    NotListening,
    asyncpg.PostgresError,
    *CONNECTION_ERRORS,
)
DATABASE = ("database_url", "data_dir")


def options(*fields: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options of these settings (none named: of all), and call it with the Settings."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def command(**given: Any) -> Any:
            values = {name: given.pop(name, None) for name in Settings.__struct_fields__}
            try:
                settings = load(os.environ, values)
            except SettingsError as error:
                raise click.ClickException(str(error)) from error
            set_up_logging(settings.log_level)
            for name in unknown(os.environ):
                log.warning("unknown_setting", variable=name)
            return function(settings, **given)

        for field in reversed(msgspec.structs.fields(Settings)):
            if not fields or field.name in fields or field.name == "log_level":
                command = _option(field)(command)
        return command

    return decorate


def _option(field: msgspec.structs.FieldInfo) -> Callable[[Any], Any]:
    info = msgspec.inspect.type_info(field.type)
    description = (
        (info.extra_json_schema or {}).get("description", "") if isinstance(info, msgspec.inspect.Metadata) else ""
    )
    shown = (
        f"  [{', '.join(environment_names(field.name))}; default: {field.default if field.default != '' else 'none'}]"
    )
    return click.option("--" + field.name.replace("_", "-"), field.name, metavar="VALUE", help=description + shown)


def set_up_logging(level: str) -> None:
    """Log to standard error: for people on a terminal, otherwise one JSON object a line."""
    renderer: Any = structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=not sys.stderr.isatty()),
            *([] if sys.stderr.isatty() else [structlog.processors.format_exc_info]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def run(main: Coroutine[Any, Any, int | None]) -> None:
    """Run to the end and exit with its status; known failures become one line."""
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            sys.exit(runner.run(main) or 0)
    except KeyboardInterrupt:
        sys.exit(130)
    except BaseExceptionGroup as group:
        known, other = group.split(KNOWN_ERRORS)
        if other or known is None:
            raise
        raise click.ClickException(_one_line(known)) from group
    except KNOWN_ERRORS as error:
        raise click.ClickException(_one_line(error)) from error


def _one_line(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return " ".join(str(error).split()) or type(error).__name__


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:  # Windows has none; the standard loop does the same, slower
        return None
    return uvloop.new_event_loop


@contextlib.asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[tuple[str, asyncpg.Connection]]:
    """The database's URL and one connection to it."""
    async with app.database(settings) as url:
        connection = await connect(url)
        try:
            yield url, connection
        finally:
            connection.terminate()


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="notes-hub")
def main() -> None:
    """Notes committed to Postgres reach every browser, terminal and script at once.

    \b
    notes-hub serve                          run the hub on http://127.0.0.1:8080
    notes-hub post -u gb "Hello World!"      add a note through it
    notes-hub psql                           open the database
    """


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


@main.command()
@options(*DATABASE)
def migrate(settings: Settings) -> None:
    """Bring the database to this version's schema; `serve` does the same when it starts.

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


@main.command()
@options(*DATABASE)
def listen(settings: Settings) -> None:
    """Print notifications straight from Postgres, without a hub, until Ctrl-C.

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
        raise OSError("Postgres ended the connection.")

    run(work())


@main.command()
@click.argument("body", required=False)
@click.option("-u", "--username", envvar="USER", default="anonymous", help="Who writes.  [USER]", show_default=True)
@click.option("-t", "--topic", default=None, help="Where to.  [default: lobby]")
@click.option("-k", "--key", default=None, help="Makes it safe to send again: the same key is the same note.")
@click.option("--url", envvar="HUB_URL", default="http://127.0.0.1:8080", help="The hub.  [HUB_URL]", show_default=True)
def post(body: str | None, username: str, topic: str | None, key: str | None, url: str) -> None:
    """Add a note through a hub and print it as JSON; without BODY, the note is what comes on standard input.

    \b
    Examples:
      notes-hub post -u gb "Hello World!"
      uptime | notes-hub post -t ops
    """
    text = body if body is not None else sys.stdin.read().rstrip("\n")
    note = Publish(username, text, topic, key)

    async def work() -> None:
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(15)) as http,
                http.post(
                    url.rstrip("/") + "/notes", data=encode(note), headers={"Content-Type": "application/json"}
                ) as reply,
            ):
                answer = await reply.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise click.ClickException(f"No hub answers at {url}: {error}. Start one with: notes-hub serve") from error
        if reply.status == 201:
            click.echo(answer, nl=False)
        else:
            raise click.ClickException(_explained(answer, reply.status))

    run(work())


def _explained(answer: str, status: int) -> str:
    try:
        error = msgspec.json.decode(answer)
        return f"{error['message']} - {error['hint']}"
    except (msgspec.DecodeError, KeyError, TypeError):
        return f"The hub answered with status {status}."


@main.command("database-url")
@options(*DATABASE)
def database_url(settings: Settings) -> None:
    """Print the URL of the database, as psql and other programs take it.

    \b
    Example:
      psql "$(notes-hub database-url)"
    """
    url = settings.database_url or embedded.database_url(settings.data_path)
    if not settings.database_url and not embedded.is_running(settings.data_path):
        click.echo("It does not run now; `notes-hub serve` starts it.", err=True)
    click.echo(url)


@main.command(context_settings={"ignore_unknown_options": True})
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
        # psql itself ends a query at Ctrl-C; the signal must not end us, nor the server that we may have started.
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


@main.command("check")
@options(*DATABASE)
def check_database(settings: Settings) -> None:
    """Look at the database and the settings, and say what is wrong; exits with 1 if anything is.

    \b
    Example:
      DATABASE_URL=postgresql://hub@pooler:6432/notes notes-hub check
    """

    async def work() -> int:
        async with connected(settings) as (url, connection):
            if not settings.database_url:
                await migrations.migrate(connection)
            store = Store(url, 1)
            await store.open()
            try:
                found = await check.run(connection, store)
            finally:
                await store.close()
        found += [check.Finding(False, f"{name} is set but is no setting.") for name in unknown(os.environ)]
        for finding in found:
            click.echo(f"{'ok ' if finding.fine else '!! '} {finding.text}")
        return 0 if all(finding.fine for finding in found) else 1

    run(work())
