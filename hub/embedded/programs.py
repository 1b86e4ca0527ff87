"""Runs the programs of the embedded Postgres on one data folder.

Owns how a child is started (as whom, with which environment, ending with its parent), how it is ended,
and what is said of one that failed. When to start which is `embedded`'s business.
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
    """The programs on one folder; `become` makes a child the user who may run them."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.pgdata, self.log_path = data_dir / "postgres", data_dir / "postgres.log"
        self.become: Callable[[], None] = lambda: None

    def recorded_pid(self) -> int:
        """The process that the data folder says is its server, or 0."""
        try:
            return abs(int((self.pgdata / "postmaster.pid").read_text().split()[0]))
        except (OSError, ValueError, IndexError):
            return 0

    async def run(self, name: str, *arguments: str, stdin: bytes = b"") -> str:
        """Output of a program that ends by itself."""
        # One that reads nothing gets no pipe: it may have ended before we could write.
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
        """Start a program, which gets the signal when this process dies (None: where no kernel does that)."""
        # PG* and LC_* of the caller's shell would change the server. The process recorded in postmaster.pid is known to
        # be gone here: naming it keeps Postgres from taking a new process with the same number for a running server
        # (CreateLockFile in its miscinit.c).
        env = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        env |= {"LC_ALL": "C", "PG_GRANDPARENT_PID": str(self.recorded_pid())}
        # A session of its own: Ctrl-C in a terminal must not stop the database before the hub has made its last writes.
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
        """What to say of a program that has failed, from what it has printed."""
        # On a full disk even the log line that says so may be missing.
        if "No space left on device" in output or shutil.disk_usage(self.data_dir).free < 100_000:
            return disk_full(self.data_dir)
        # FATAL lines that only turn a client away ("the database system is starting up") are no reason to exit.
        lines = [line for line in output.splitlines() if "LOG: " not in line and "the database system is" not in line]
        reasons = re.findall(r"(?:FATAL|PANIC|error): +(.*)", "\n".join(lines)) or lines[-1:]
        return EmbeddedError(
            f"{program} exited with code {code} in {self.data_dir}: {''.join(reasons[-1:]) or 'no reason given'} "
            f"(more in {self.log_path})"
        )


async def stop(process: Process) -> None:
    """Fast shutdown, then harder. A second cancellation means hurry, not leave it running."""
    for number, seconds in ((signal.SIGINT, 10), (signal.SIGQUIT, 6), (signal.SIGKILL, 5)):
        if process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS refuses to signal a group of zombies
            os.killpg(process.pid, number)
        with contextlib.suppress(TimeoutError, asyncio.CancelledError):
            async with asyncio.timeout(seconds):
                await process.wait()
