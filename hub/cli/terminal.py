"""A hub's notes in a terminal: `tail` prints them as they come, `chat` has a line to type on below.

Owns what a person sees there. Connections, resuming and the outbox are the Python client's.
"""

import asyncio
import sys
from collections.abc import Iterable

from prompt_toolkit import print_formatted_text
from prompt_toolkit.application import Application
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.layout import FormattedTextControl, HSplit, Layout, Window
from prompt_toolkit.patch_stdout import patch_stdout
from prompt_toolkit.widgets import TextArea

from hub.client.connection import Connection, connect
from hub.client.events import Accepted, Interrupted, Rejected, Signal
from hub.errors import CommandError
from hub.protocol import CaughtUp, Deleted, Error, Note, Publish, Reset
from hub.protocol.codec import convert, encode
from hub.protocol.text import printable, text_line

COLOURS = ("ansicyan", "ansigreen", "ansiyellow", "ansiblue", "ansimagenta", "ansired")
LAST_TRY = 3.0  # seconds to save what is still unsent when a chat ends


def line(signal: Signal) -> str:
    """A signal as a line for people, in local time; empty for what needs no line."""
    match signal:
        case Interrupted():
            again = "" if signal.delay is None else f"; trying again in {signal.delay:.1f} s"
            return f"* not connected: {printable(signal.reason) or signal.code}{again}"
        case Rejected():
            return f"! {printable(signal.error.message)} {printable(signal.error.hint)}"
        case Accepted():
            return ""
        case CaughtUp():
            return "* up to date"
        case _:
            return text_line(signal, local=True)


async def tail(url: str, topics: Iterable[str], after: int | None, last: int | None, as_json: bool) -> None:
    """Print events to standard output and what concerns the connection to standard error, until cancelled."""
    async with connect(url, topics, after, last) as connection:
        try:
            async for signal in connection:
                is_event = isinstance(signal, Note | Deleted | Reset)
                if is_event and as_json:
                    print(encode(signal).decode(), flush=True)
                elif text := line(signal):
                    print(text, file=sys.stdout if is_event else sys.stderr, flush=True)
        finally:
            if (cursor := connection.cursor) is not None:
                print(f"* to go on from here: --after {cursor}", file=sys.stderr)


class Chat:
    """One chat: what comes is printed above the line on which one types."""

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
        # One application for the whole chat: between two prompts, keys would get lost.
        self._screen: Application[None] = Application(
            Layout(HSplit([line, toolbar])), key_bindings=keys, refresh_interval=0.5, erase_when_done=True
        )

    async def run(self) -> list[str]:
        """Chat until Ctrl-D; the bodies of notes that could not be saved."""
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
        """Take what was typed; True keeps it on the line, to be mended."""
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
        async for signal in self._connection:
            match signal:
                case Note():
                    self._show_note(signal)
                case CaughtUp():
                    if self._state == "not connected":
                        self._show([("ansibrightblack", "* connected again")])
                    self._state = "live"
                case Interrupted() if self._state == "not connected":
                    pass  # the toolbar says so; each attempt that fails is no news
                case Rejected() | Error():
                    self._show([("ansired", line(signal))])
                case _:
                    if isinstance(signal, Interrupted):
                        self._state = "not connected"
                    if text := line(signal):
                        self._show([("ansibrightblack", text)])

    def _show_note(self, note: Note) -> None:
        time, name = note.created_timestamp.astimezone(), printable(note.username)
        colour = COLOURS[sum(name.encode()) % len(COLOURS)]  # the same everywhere and every time
        self._show([("ansibrightblack", f"{time:%H:%M} "), (f"{colour} bold", f"{name} "), ("", printable(note.body))])

    @staticmethod
    def _show(parts: list[tuple[str, str]]) -> None:
        print_formatted_text(FormattedText(parts))

    async def _finish(self) -> None:
        """Give what is unsent a last moment."""
        try:
            async with asyncio.timeout(LAST_TRY):
                while self._connection.client.outbox or not self._posts.empty():
                    await asyncio.sleep(0.05)
        except TimeoutError:
            return


async def chat(url: str, username: str, topic: str, last: int) -> list[str]:
    """Chat in a topic; gives what could not be saved."""
    async with connect(url, [topic], last=last) as connection:
        return await Chat(connection, username, topic).run()
