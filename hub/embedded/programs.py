"""Runs the programs of the embedded Postgres on one data folder.

Owns how a child process starts (its user, its environment, its end together with its parent), how it is stopped, and
the error when it fails. It never decides when to start which program; `server` and `cluster` do.
"""

import asyncio
import contextlib
import functools
import os
import re
import shutil
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Callable
from pathlib import Path

from hub.embedded.files import binary, disk_full
from hub.embedded.user import before_exec
from hub.errors import EmbeddedError


class Programs:
    """The programs on one folder. A child calls `become` to be the user who may run them."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.pgdata, self.log_path = data_dir / "postgres", data_dir / "postgres.log"
        self.become: Callable[[], None] = lambda: None

    def recorded_pid(self) -> int:
        """The number of the process that the data folder names as its server, or 0."""
        try:
            return abs(int((self.pgdata / "postmaster.pid").read_text().split()[0]))
        except (OSError, ValueError, IndexError):
            return 0

    async def run(self, name: str, *arguments: str, stdin: bytes = b"") -> str:
        """Run a program that ends by itself, and return its output. Raises EmbeddedError when it fails."""
        # A program that reads nothing gets no pipe: it may end before we could write.
        process = await self.spawn(
            [str(binary(name)), *arguments],
            PIPE if stdin else DEVNULL,
            PIPE,
            signal.SIGKILL if sys.platform == "linux" else None,
        )
        try:
            output = (await process.communicate(stdin or None))[0].decode(errors="replace")
        finally:
            await stop(process)
        if process.returncode:
            raise self.failure(name, process.returncode, output)
        return output

    async def spawn(self, command: list[str], stdin: int, stdout: int, death_signal: signal.Signals | None) -> Process:
        """Start a program. The kernel sends it `death_signal` when this process dies; None where it cannot do that."""
        # PG* and LC_* of the caller's shell would change the server. The process recorded in postmaster.pid is known to
        # be gone here. PG_GRANDPARENT_PID names it, so that Postgres does not take a new process with the same number
        # for a running server (CreateLockFile in its miscinit.c).
        env = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        env |= {"LC_ALL": "C", "PG_GRANDPARENT_PID": str(self.recorded_pid())}
        # In a session of its own, since Ctrl-C in a terminal must not stop the database before the hub's last writes.
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=stdin,
            stdout=stdout,
            stderr=STDOUT,
            env=env,
            cwd=self.data_dir,
            start_new_session=True,
            preexec_fn=functools.partial(before_exec, self.become, death_signal, os.getpid()),
        )

    def failure(self, program: str, code: int, output: str) -> EmbeddedError:
        """The error for a program that failed, made from what it printed."""
        # On a full disk even the log line that says so may be missing.
        if "No space left on device" in output or shutil.disk_usage(self.data_dir).free < 100_000:
            return disk_full(self.data_dir)
        # Some FATAL lines ("the database system is starting up") only turn a client away; no server exits for them.
        lines = [line for line in output.splitlines() if "LOG: " not in line and "the database system is" not in line]
        reasons = re.findall(r"(?:FATAL|PANIC|error): +(.*)", "\n".join(lines)) or lines[-1:]
        return EmbeddedError(
            f"{program} exited with code {code} in {self.data_dir}: {''.join(reasons[-1:]) or 'no reason given'} "
            f"(more in {self.log_path})"
        )


async def stop(process: Process) -> None:
    """Stop a server by signals: fast shutdown, immediate shutdown, kill (Postgres manual, "Shutting Down the Server").

    When this is cancelled it goes on with the next signal, and never leaves the server running.
    """
    for number, seconds in ((signal.SIGINT, 10), (signal.SIGQUIT, 6), (signal.SIGKILL, 5)):
        if process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS refuses to signal a group of zombies
            os.killpg(process.pid, number)
        with contextlib.suppress(TimeoutError, asyncio.CancelledError):
            async with asyncio.timeout(seconds):
                await process.wait()
