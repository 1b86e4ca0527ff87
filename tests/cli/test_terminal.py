"""`tail` and `chat` as a person uses them: real programs, a real terminal, hubs that come and go."""

import asyncio
import contextlib
import os
import pty
import re
import signal
import sys
from collections.abc import AsyncIterator

import asyncpg

from tests.programs import DEADLINE, environment, free_port, hub_process, output, program

HUB = (sys.executable, "-m", "hub")
INSERT = "insert into note (username, body) values ('gb', $1)"


class Terminal:
    """The screen of a program, as the text that it has written, and its keyboard."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.text = ""
        self._more = asyncio.Event()
        asyncio.get_running_loop().add_reader(descriptor, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, 65536)
        except OSError:  # the program has closed its side
            asyncio.get_running_loop().remove_reader(self._descriptor)
            return
        if b"\x1b[6n" in data:  # where is the cursor? prompt_toolkit wants to know
            os.write(self._descriptor, b"\x1b[1;1R")
        self.text += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", data.decode(errors="replace"))
        self._more.set()

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._descriptor, keys.encode())

    async def shows(self, text: str) -> None:
        """Wait until the text was written; what was written up to it is done with."""
        async with asyncio.timeout(DEADLINE):
            while text not in self.text:
                self._more.clear()
                await self._more.wait()
        self.text = self.text[self.text.index(text) + len(text) :]


@contextlib.asynccontextmanager
async def terminal(*command: str) -> AsyncIterator[tuple[Terminal, asyncio.subprocess.Process]]:
    """A program in a terminal of its own."""
    ours, theirs = pty.openpty()
    env = environment(TERM="xterm", COLUMNS="100", LINES="30")
    process = await asyncio.create_subprocess_exec(
        *command, stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True
    )
    os.close(theirs)
    screen = Terminal(ours)
    try:
        yield screen, process
    finally:
        asyncio.get_running_loop().remove_reader(ours)
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(ours)


async def leave(screen: Terminal, process: asyncio.subprocess.Process) -> int:
    """Press Ctrl-D until the chat ends: while a line is printed the terminal itself takes the key."""
    async with asyncio.timeout(DEADLINE):
        while process.returncode is None:
            screen.type("\x04")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), 0.5)
    return process.returncode


async def test_tail_through_a_kill(url: str, database: asyncpg.Connection) -> None:
    """A tail prints each note once, in order, through a kill and a restart of its hub."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    async with program(*HUB, "tail", "--json", "--after", "0", "--url", address) as tail:
        async with hub_process(url, port) as hub:
            await database.execute(INSERT, "0")
            await tail.until('"body":"0"')
            await hub.end(signal.SIGKILL)
        for number in range(1, 5):
            await database.execute(INSERT, str(number))
        async with hub_process(url, port):
            await database.execute(INSERT, "5")
            await tail.until('"body":"5"')
        assert re.findall(r'"body":"(\d)"', " ".join(tail.lines)) == list("012345")


async def test_tail_says_where_to_go_on(start_hub, database: asyncpg.Connection) -> None:
    """A tail that is ended prints the cursor with which another goes on."""
    await database.execute(INSERT, "before")
    async with start_hub() as (_, address):
        async with program(*HUB, "tail", "--last", "5", "--url", address, stderr_too=True) as tail:
            await tail.until("#lobby gb: before")
            await tail.until("up to date")
            tail.process.send_signal(signal.SIGINT)
            cursor = re.findall(r"--after (\d+)", await tail.until("--after"))[0]
        await database.execute(INSERT, "after")
        async with program(*HUB, "tail", "--after", cursor, "--url", address) as tail:
            assert (await tail.line()).endswith("#lobby gb: after")


async def test_tail_refused(start_hub) -> None:
    """A tail that the hub refuses ends with one line and a status."""
    async with start_hub(max_topics=1) as (_, address):
        printed = await output(*HUB, "tail", "-t", "a", "-t", "b", "--url", address, status=1)
        assert "At most 1 topic" in printed and "Traceback" not in printed


async def test_tail_without_a_hub() -> None:
    """A tail says once for each attempt that no hub answers, where, and when it tries again."""
    address = f"http://127.0.0.1:{free_port()}"
    async with program(*HUB, "tail", "--url", address, stderr_too=True) as tail:
        for _ in range(2):
            where = rf"^\* not connected to the hub: no hub answers at {address} \(.+\); trying again in \d\.\d s$"
            assert re.search(where, await tail.line())


async def test_chat(url: str, database: asyncpg.Connection) -> None:
    """A chat shows what was, what comes and what one sends; the hub may go and come back while one types."""
    await database.execute(INSERT, "from before")
    port = free_port()
    async with contextlib.AsyncExitStack() as hubs:
        hub = await hubs.enter_async_context(hub_process(url, port))
        async with terminal(*HUB, "chat", "-u", "ada", "--url", hub.address) as (screen, process):
            await screen.shows("from before")
            await screen.shows("live")
            screen.type("hello from ada\r")
            await screen.shows("ada hello from ada")
            screen.type("half a sent")
            await screen.shows("half a sent")
            await hub.end(signal.SIGKILL)
            await screen.shows("not connected")
            screen.type("ence\r")
            await screen.shows("1 not sent yet")
            await hubs.enter_async_context(hub_process(url, port))
            await screen.shows("ada half a sentence")
            screen.type("x" * 141 + "\r")
            await screen.shows("at most 140 characters, not 141")
            screen.type("\b" * 141 + "one\rtwo\rthree\r")
            await screen.shows("ada three")
            assert await leave(screen, process) == 0
    bodies = [row["body"] for row in await database.fetch("select body from note order by rowid")]
    assert bodies == ["from before", "hello from ada", "half a sentence", "one", "two", "three"]


async def test_chat_without_a_hub() -> None:
    """A chat without a hub says so above the line, and on leaving what was not saved, with a status."""
    async with terminal(*HUB, "chat", "-u", "ada", "--url", f"http://127.0.0.1:{free_port()}") as (screen, process):
        await screen.shows("not connected")
        screen.type("into the void\r")
        await screen.shows("1 not sent yet")
        assert await leave(screen, process) == 1
        await screen.shows("not saved: into the void")


async def test_chat_in_a_pipe() -> None:
    """A chat that has no terminal says what to use instead."""
    printed = await output(*HUB, "chat", status=1)
    assert "notes-hub post" in printed and "notes-hub tail" in printed
