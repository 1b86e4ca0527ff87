"""Hubs as processes of their own, which keep an embedded server until they are ended or killed."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.programs import ROOT

# A process of its own that keeps a server until its stdin ends. argv: folder, user or "", loop, guarded.
OWNER = """
import asyncio, os, pwd, sys
from pathlib import Path
import uvloop
from hub.embedded import server as embedded
from hub.embedded import files as embedded_files
from hub.embedded import user as embedded_user
async def main():
    try:
        async with embedded.running(Path(sys.argv[1]), fast=True):
            print("ready", flush=True)
            await asyncio.to_thread(sys.stdin.read)
    except embedded.EmbeddedError as error:
        print("error:", error, flush=True)
if sys.argv[2]:  # after the imports: this Python may lie in a folder closed to others
    user = pwd.getpwnam(sys.argv[2])
    embedded_user.switch_user(user.pw_uid, user.pw_gid)
embedded.GUARDED = embedded.GUARDED or bool(sys.argv[4])
(uvloop if sys.argv[3] == "uvloop" else asyncio).run(main())
"""


class Owner:
    """A hub in another process; `say` is its first line."""

    def __init__(
        self,
        data_dir: Path,
        user: str = "",
        loop: str = "asyncio",
        guarded: bool = False,
        before: Callable[[], None] | None = None,
    ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWNER, str(data_dir), user, loop, "guarded" if guarded else ""],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=before,
        )

    def line(self) -> str:
        """The first line that is no log line: "ready" or "error: ..."."""
        assert self.process.stdout
        return next((line for line in self.process.stdout if line.startswith(("ready", "error:"))), "").strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> int:
        self.process.communicate(timeout=20)
        return self.process.returncode


@contextlib.contextmanager
def hub(*arguments: object, **options: object) -> Iterator[Owner]:
    owner = Owner(*arguments, **options)  # type: ignore[arg-type]
    try:
        yield owner
    finally:
        owner.kill()
        for pipe in (owner.process.stdin, owner.process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]
