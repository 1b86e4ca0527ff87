"""The commands that use a hub as any client does.

Owns ``post`` and ``tail``; the lines that ``tail`` prints are `terminal`'s.
"""

import sys
from typing import TypeVar
from urllib.parse import urlsplit

import aiohttp
import click
import msgspec

from hub.cli import terminal
from hub.cli.run import run
from hub.errors import CommandError
from hub.protocol import ALL, LOBBY, MAX_PAGE, Publish, Subscribe
from hub.protocol.codec import convert, encode

T = TypeVar("T")
TIMEOUT = aiohttp.ClientTimeout(15)  # seconds for a hub to save a note and to answer
HUB = "http://127.0.0.1:8080"
SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}


def checked_address(_: click.Context, __: click.Parameter, value: str) -> str:
    """The address of a hub, as http or https. Raises click.ClickException for what cannot be one."""
    try:
        parts = urlsplit(value)
        fine = parts.scheme in SCHEMES and parts.hostname and parts.port != 0
    except ValueError:
        fine = False
    if not fine:
        raise click.ClickException(f"--url (or HUB_URL) is {value!r}, which is no address of a hub: write it as {HUB}")
    return parts._replace(scheme=SCHEMES[parts.scheme]).geturl().rstrip("/")


def checked_topics(_: click.Context, __: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    """The topics to follow. Raises click.ClickException for what can be no topic."""
    for topic in value:
        _checked({"topic": topic}, Subscribe, f"Name a topic, such as {LOBBY}, or {ALL!r} for all.")
    return value


def checked_topic(_: click.Context, __: click.Parameter, value: str) -> str:
    """The one topic to write to. Raises click.ClickException for what can be none."""
    _checked({"username": "x", "body": "x", "topic": value}, Publish, f"Name a topic, such as {LOBBY}.")
    return value


def _checked(fields: dict[str, str | None], kind: type[T], hint: str = "") -> T:
    try:
        return convert(fields, kind, hint=hint)
    except CommandError as error:
        raise click.ClickException(f"{error.error.message} {error.error.hint}") from error


URL = click.option(
    "--url", envvar="HUB_URL", default=HUB, callback=checked_address, help="The hub.  [HUB_URL]", show_default=True
)


@click.command()
@click.argument("body", required=False)
@click.option("-u", "--username", envvar="USER", default="anonymous", help="Who writes.  [USER]", show_default=True)
@click.option("-t", "--topic", default=None, help="Where to.  [default: lobby]")
@click.option("-k", "--key", default=None, help="Makes it safe to send again: the same key is the same note.")
@URL
def post(body: str | None, username: str, topic: str | None, key: str | None, url: str) -> None:
    """Add a note through a hub.

    Without BODY the note is what comes on standard input. Prints the saved note as JSON.

    \b
    Examples:
      notes-hub post -u gb "Hello World!"
      uptime | notes-hub post -t ops
    """
    text = body if body is not None else sys.stdin.read().rstrip("\n")
    run(_post(url, _checked({"username": username, "body": text, "topic": topic, "key": key}, Publish)))


async def _post(url: str, note: Publish) -> None:
    headers = {"Content-Type": "application/json"}
    try:
        async with (
            aiohttp.ClientSession(timeout=TIMEOUT) as http,
            http.post(url + "/notes", data=encode(note), headers=headers) as reply,
        ):
            answer = await reply.text()
    except aiohttp.ClientResponseError as error:  # not even HTTP
        raise click.ClickException(f"What answers at {url} is no hub: correct --url.") from error
    except (aiohttp.ClientError, TimeoutError) as error:
        os_error = getattr(error, "os_error", None)
        reason = (os_error and os_error.strerror) or str(error) or f"no answer within {TIMEOUT.total:.0f} s"
        raise click.ClickException(
            f"No hub answers at {url} ({reason}): start one with notes-hub serve, or correct --url."
        ) from error
    if reply.status != 201:
        raise click.ClickException(_explained(answer, url, reply.status))
    click.echo(answer, nl=False)


def _explained(answer: str, url: str, status: int) -> str:
    """What an answer that is no success says to a person."""
    try:
        error = msgspec.json.decode(answer)
        return f"{error['message']} {error['hint']}"
    except (msgspec.DecodeError, KeyError, TypeError):
        return f"What answers at {url} is no hub (status {status}): correct --url."


@click.command()
@click.option(
    "-t",
    "--topic",
    "topics",
    multiple=True,
    default=[LOBBY],
    callback=checked_topics,
    help="What to follow, often if need be; * is all.",
)
@click.option(
    "--after", type=click.IntRange(0), default=None, help="Go on after this cursor, as an earlier tail printed it."
)
@click.option("--last", type=click.IntRange(1, MAX_PAGE), default=None, help="Begin with the newest so many notes.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one event a line.")
@URL
def tail(topics: tuple[str, ...], after: int | None, last: int | None, as_json: bool, url: str) -> None:
    """Print notes as they come, until Ctrl-C.

    Whatever restarts meanwhile, no note is missed or printed twice.

    \b
    Examples:
      notes-hub tail --last 10
      notes-hub tail -t '*' --json >> notes.ndjson
    """
    run(terminal.tail(url, topics, after, last, as_json))
