"""The commands that use a hub as any client does.

Owns ``post``, ``tail`` and ``chat``; what the latter two show is `terminal`'s.
"""

import sys

import aiohttp
import click
import msgspec

from hub.cli import terminal
from hub.cli.options import main, run
from hub.errors import CommandError
from hub.protocol import LOBBY, MAX_PAGE, Publish
from hub.protocol.codec import convert, encode

URL = click.option(
    "--url", envvar="HUB_URL", default="http://127.0.0.1:8080", help="The hub.  [HUB_URL]", show_default=True
)


@main.command()
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
    fields = {"username": username, "body": text, "topic": topic, "key": key}
    try:
        note = convert(fields, Publish)
    except CommandError as error:
        raise click.ClickException(f"{error.error.message} {error.error.hint}") from error

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
        return f"{error['message']} {error['hint']}"
    except (msgspec.DecodeError, KeyError, TypeError):
        return f"The hub answered with status {status}."


@main.command()
@click.option(
    "-t", "--topic", "topics", multiple=True, default=[LOBBY], help="What to follow, often if need be; * is all."
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


@main.command()
@click.option("-u", "--username", envvar="USER", default="anonymous", help="Your name.  [USER]", show_default=True)
@click.option("-t", "--topic", default=LOBBY, help="Where.", show_default=True)
@click.option(
    "--last", type=click.IntRange(1, MAX_PAGE), default=20, help="How many notes to begin with.", show_default=True
)
@URL
def chat(username: str, topic: str, last: int, url: str) -> None:
    """Chat in the terminal.

    Notes come above, what one types stays below.

    \b
    Example:
      notes-hub chat -u gb -t lobby
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.ClickException("chat needs a terminal; in a pipe use `notes-hub post` and `notes-hub tail`")

    async def work() -> int:
        unsaved = await terminal.chat(url, username, topic, last)
        for body in unsaved:
            click.echo(f"not saved: {body}", err=True)
        return 1 if unsaved else 0

    run(work())
