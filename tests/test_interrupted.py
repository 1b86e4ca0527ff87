"""Ctrl-C at any moment of a start."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs import DEADLINE, environment

COMMANDS = {"module": ["-m", "hub"], "script": [str(Path(sys.executable).parent / "notes-hub")]}


@pytest.mark.parametrize("how", COMMANDS)
@pytest.mark.parametrize("imported", ["click.core", "asyncio", "aiohttp.client"])
async def test_ctrl_c_while_it_starts(how: str, imported: str) -> None:
    """Ctrl-C while a command's modules are imported ends it quietly with 130."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-X", "importtime", *COMMANDS[how], "tail", "--url", "http://127.0.0.1:9", env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr
    async with asyncio.timeout(DEADLINE):
        while (line := await process.stderr.readline()).split()[-1:] != [imported.encode()]:
            assert line.startswith(b"import time:"), line
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    said = [line for line in err.splitlines() if not line.startswith((b"import time:", b"*"))]
    assert (process.returncode, out, said) == (130, b"", [])
