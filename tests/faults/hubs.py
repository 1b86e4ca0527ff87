"""A hub as a process that can be killed and comes back on its port, behind a proxy of its own.

Owns the process and its log file. Ends only what it started, by its id.
"""

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from tests.programs import environment
from tests.proxy import Proxy, proxied

END = 10.0  # seconds for a hub to end when it is asked to


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class ManagedHub:
    """One hub. `died` holds what it said when it ended by itself, which it never should."""

    def __init__(self, proxy: Proxy, log: Path, wrapper: Sequence[str], options: Sequence[str]) -> None:
        self.proxy = proxy
        self.log = log
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.died: list[str] = []
        self._command = [
            sys.executable,
            "-m",
            "tests.faults.hub",
            *wrapper,
            "serve",
            "--port",
            str(self.port),
            *options,
        ]
        self._process: asyncio.subprocess.Process | None = None
        self._restarting = asyncio.Lock()

    async def start(self) -> None:
        """Start it; it listens on its port some time later."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, "--database-url", self.proxy.url, stdout=log, stderr=log, env=environment()
            )

    async def kill(self) -> None:
        """End it as a power failure does."""
        self.look()
        if self._process and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        self._process = None

    async def restart(self, pause: float = 0.0) -> None:
        """Kill it, and start it again after a pause."""
        async with self._restarting:
            await self.kill()
            await asyncio.sleep(pause)
            await self.start()

    def look(self) -> None:
        """Notice an end that nobody asked for."""
        if self._process and self._process.returncode is not None:
            self.died.append(f"status {self._process.returncode}: {self.log.read_text()[-2000:]}")
            self._process = None

    async def end(self) -> None:
        """End it politely, or else by force."""
        self.look()
        if self._process:
            self._process.terminate()
            try:
                async with asyncio.timeout(END):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
            self._process = None

    async def answers(self) -> None:
        """Wait until its port is open."""
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                self.look()
                assert not self.died, self.died
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


@contextlib.asynccontextmanager
async def managed(
    url: str, log: Path, wrapper: Sequence[str] = (), options: Sequence[str] = ()
) -> AsyncIterator[ManagedHub]:
    """A running hub on the database at `url`, through a proxy."""
    async with proxied(url) as proxy:
        hub = ManagedHub(proxy, log, wrapper, options)
        await hub.start()
        try:
            yield hub
        finally:
            proxy.heal()
            await hub.end()
