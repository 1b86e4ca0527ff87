"""Real programs for the tests: hubs as processes, websocat, psql, curl."""

import asyncio
import contextlib
import json
import os
import random
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from hub.embedded import server as embedded

ROOT = Path(__file__).parent.parent
WEBSOCAT = Path(sys.executable).parent / "websocat"
DEADLINE = 15.0  # seconds for anything that a test waits for


def environment(**changes: str) -> dict[str, str]:
    """This process's environment without any settings of a hub or of Postgres."""
    kept = {
        name: text for name, text in os.environ.items() if not name.startswith(("HUB_", "PG", "DATABASE_URL", "PORT"))
    }
    return kept | {"PYTHONPATH": str(ROOT)} | changes


def free_port() -> int:
    """A port that nothing uses, and that no outgoing connection is given meanwhile, as a restarted hub needs."""
    while True:
        with socket.socket() as probe, contextlib.suppress(OSError):
            port = random.randint(20_000, 30_000)
            probe.bind(("127.0.0.1", port))
            return port


class Program:
    """A running program whose lines of output can be waited for."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []

    async def line(self) -> str:
        """The next line that it prints; its end is an error."""
        assert self.process.stdout
        async with asyncio.timeout(DEADLINE):
            raw = await self.process.stdout.readline()
        assert raw, f"the program ended with {await self.process.wait()} after {self.lines}"
        self.lines.append(raw.decode().rstrip("\n"))
        return self.lines[-1]

    async def until(self, pattern: str) -> str:
        """The next line in which a regular expression is found."""
        while not re.search(pattern, await self.line()):
            pass
        return self.lines[-1]

    async def send(self, line: str) -> None:
        """Type a line."""
        assert self.process.stdin
        self.process.stdin.write(line.encode() + b"\n")
        await self.process.stdin.drain()

    async def rest(self) -> str:
        """Everything that it still prints until it ends."""
        assert self.process.stdout
        async with asyncio.timeout(DEADLINE):
            return (await self.process.stdout.read()).decode()

    async def end(self, number: int = signal.SIGTERM) -> int:
        """Signal it, wait for its end, and give its status."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        try:
            async with asyncio.timeout(DEADLINE):
                return await self.process.wait()
        except TimeoutError:
            self.process.kill()
            raise

    def peak_memory(self) -> int:
        """The most memory that it ever used, in bytes (Linux)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) << 10


@contextlib.asynccontextmanager
async def program(*command: str | Path, stderr_too: bool = False, **env: str) -> AsyncIterator[Program]:
    """A program, ended by its id when the block ends."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT if stderr_too else None,
        env=environment(**env),
        limit=1 << 22,
    )
    running = Program(process)
    try:
        yield running
    finally:
        if process.returncode is None:
            await running.end()
        process._transport.close()  # type: ignore[attr-defined]  # its pipes would warn later


async def output(*command: str | Path, status: int = 0, stdin: str = "", **env: str) -> str:
    """What a program prints, on both of its outputs, until it ends with the status that is expected."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment(**env),
    )
    async with asyncio.timeout(DEADLINE):
        text = (await process.communicate(stdin.encode()))[0].decode()
    assert process.returncode == status, text
    return text


class HubProcess(Program):
    """A hub as a process of its own."""

    address = ""


@contextlib.asynccontextmanager
async def hub_process(url: str = "", port: int = 0, options: Sequence[str] = ()) -> AsyncIterator[HubProcess]:
    """A listening hub on a database; without a URL, on an embedded one as the options say."""
    database = ["--database-url", url] if url else []
    command = [sys.executable, "-m", "hub", "serve", "--port", str(port), *database, *options]
    async with program(*command, stderr_too=True) as running:
        hub = HubProcess(running.process)
        hub.address = json.loads(await hub.until('"serving"'))["address"]
        await hub.until('"listening"')
        yield hub


def psql(url: str, *arguments: str) -> list[str]:
    """The command line of psql on a database."""
    return [str(embedded.binary("psql")), "--no-psqlrc", url, *arguments]


def websocat(address: str, *arguments: str) -> list[str]:
    """The command line of websocat on a hub's address."""
    return [str(WEBSOCAT), *arguments, address.replace("http", "ws", 1)]
