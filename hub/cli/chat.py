"""The command ``chat``: notes appear above the line on which one types.

Owns that screen and its keys. Connections, resuming and the outbox are `hub.client`'s. It stands in a file of its own
since no other command needs prompt_toolkit, which is slow to import.
"""

import asyncio
import sys

import click
from prompt_toolkit import print_formatted_text
from prompt_toolkit.application import Application
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.layout import FormattedTextControl, HSplit, Layout, Window
from prompt_toolkit.patch_stdout import patch_stdout
from prompt_toolkit.widgets import TextArea

from hub.cli.clients import URL, checked_topic
from hub.cli.run import run
from hub.cli.terminal import line
from hub.client.connection import Connection, connect
from hub.client.events import Interrupted, Rejected
from hub.errors import CommandError
from hub.protocol import LOBBY, MAX_PAGE, CaughtUp, Error, Note, Publish
from hub.protocol.codec import convert
from hub.protocol.text import printable

COLOURS = ("ansicyan", "ansigreen", "ansiyellow", "ansiblue", "ansimagenta", "ansired")
LAST_TRY = 3.0  # seconds to save what is still unsent when a chat ends


@click.command()
@click.option("-u", "--username", envvar="USER", default="anonymous", help="Your name.  [USER]", show_default=True)
@click.option("-t", "--topic", default=LOBBY, callback=checked_topic, help="Where.", show_default=True)
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
        async with connect(url, [topic], last=last) as connection:
            unsaved = await Screen(connection, username, topic).run()
        for body in unsaved:
            click.echo(f"not saved: {body}", err=True)
        return 1 if unsaved else 0

    run(work())


class Screen:
    """The screen of one chat."""

    def __init__(self, connection: Connection, username: str, topic: str) -> None:
        self._connection = connection
        self._username = username
        self._topic = topic
        self._state = "connecting"
        self._posts: asyncio.Queue[str] = asyncio.Queue()
        line = TextArea(prompt="> ", multiline=False, accept_handler=self._accept, history=InMemoryHistory())
        toolbar = Window(FormattedTextControl(self._toolbar), height=1, style="class:bottom-toolbar")
        keys = KeyBindings()
        for key in ("c-c", "c-d"):
            keys.add(key)(lambda event: event.app.exit())
        # One application runs for the whole chat. Between two prompts, keys would get lost.
        self._screen: Application[None] = Application(
            Layout(HSplit([line, toolbar])), key_bindings=keys, refresh_interval=0.5, erase_when_done=True
        )

    async def run(self) -> list[str]:
        """Chat until Ctrl-D, then return the bodies of notes that could not be saved."""
        async with asyncio.TaskGroup() as tasks:
            helpers = [tasks.create_task(self._print()), tasks.create_task(self._post())]
            with patch_stdout():
                await self._screen.run_async()
            await self._finish()
            for helper in helpers:
                helper.cancel()
        return [note.body for note in self._connection.client.outbox.values()]

    def _toolbar(self) -> str:
        unsent = len(self._connection.client.outbox)
        waiting = f" · {unsent} not sent yet" if unsent else ""
        return f" #{printable(self._topic)} as {printable(self._username)} · {self._state}{waiting} · Ctrl-D leaves"

    def _accept(self, line: Buffer) -> bool:
        """Send what was typed. Returns True to keep it on the line, where it can be corrected."""
        if not line.text.strip():
            return False
        try:
            convert({"username": self._username, "body": line.text, "topic": self._topic}, Publish)
        except CommandError as error:
            self._show([("ansired", f"! {error.error.message} {error.error.hint}")])
            return True
        self._posts.put_nowait(line.text)
        return False

    async def _post(self) -> None:
        while True:
            await self._connection.post(self._username, await self._posts.get(), self._topic)

    async def _print(self) -> None:
        async for event in self._connection:
            match event:
                case Note():
                    self._show_note(event)
                case CaughtUp():
                    if self._state == "not connected":
                        self._show([("ansibrightblack", "* connected again")])
                    self._state = "live"
                case Interrupted() if self._state == "not connected":
                    pass  # the toolbar says so already
                case Rejected() | Error():
                    self._show([("ansired", line(event))])
                case _:
                    if isinstance(event, Interrupted):
                        self._state = "not connected"
                    if text := line(event):
                        self._show([("ansibrightblack", text)])

    def _show_note(self, note: Note) -> None:
        time, name = note.created_timestamp.astimezone(), printable(note.username)
        colour = COLOURS[sum(name.encode()) % len(COLOURS)]  # so that a name has the same colour everywhere
        self._show([("ansibrightblack", f"{time:%H:%M} "), (f"{colour} bold", f"{name} "), ("", printable(note.body))])

    @staticmethod
    def _show(parts: list[tuple[str, str]]) -> None:
        print_formatted_text(FormattedText(parts))

    async def _finish(self) -> None:
        """Wait until everything is sent, for LAST_TRY seconds at most."""
        try:
            async with asyncio.timeout(LAST_TRY):
                while self._connection.client.outbox or not self._posts.empty():
                    await asyncio.sleep(0.05)
        except TimeoutError:
            return
