"""Ctrl-C at any moment of a start."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs import environment

COMMANDS = {"module": [sys.executable, "-m", "hub"], "script": [str(Path(sys.executable).parent / "notes-hub")]}


@pytest.mark.parametrize("how", COMMANDS)
async def test_ctrl_c_while_it_starts(how: str, tmp_path: Path) -> None:
    """Ctrl-C in the first moments of a start ends it quietly with 130, whatever is being imported."""

    async def interrupted(seconds: float) -> tuple[float, int | None, bytes]:
        process = await asyncio.create_subprocess_exec(
            *COMMANDS[how], "tail", "--url", "http://127.0.0.1:9", env=environment(), cwd=tmp_path,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        await asyncio.sleep(seconds)
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
        return seconds, process.returncode, b"".join(line for line in (out + err).splitlines() if line[:1] != b"*")

    # From when Python itself has started to when the command runs.
    for seconds in (0.1, 0.2, 0.3):
        after, status, printed = await interrupted(seconds)
        assert (status, printed) == (130, b""), (after, printed)
