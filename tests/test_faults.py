"""The fault suite, shortened: one run that must be exact, and each control, which must not be.

The whole of it is ``python -m tests.faults``; each run here is one of its seeds, in a process of its own.
"""

import asyncio
import random
import sys

import pytest

from tests.faults.controls import CONTROLS
from tests.programs import ROOT, environment

DEADLINE = 100.0  # seconds for a run, however slow the machine
EXACT = 7.0  # seconds of faults
CONTROL = 4.0
TRIES = 4  # seeds for a control: by luck, or on a slow machine, nothing may go wrong for some seconds


async def run(seed: int, seconds: float, *options: str) -> tuple[int, str]:
    """The status and the words of one run."""
    command = ["-m", "tests.faults", "--seeds", "1", "--first-seed", str(seed), "--seconds", str(seconds), *options]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment(),
        cwd=ROOT,
    )
    try:
        async with asyncio.timeout(DEADLINE):
            text = (await process.communicate())[0].decode()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    return process.returncode or 0, text


async def test_nothing_is_lost_or_doubled_under_faults() -> None:
    """Whatever dies for some seconds, every client ends with the log's events and the table's rows."""
    status, text = await run(random.randrange(1, 1_000_000), EXACT)
    print(text)  # the seed
    assert status == 0 and ": exact |" in text, text


@pytest.mark.parametrize("names", [("lock", "prev"), ("dedup", "key")], ids=" and ".join)
async def test_controls_fail(names: tuple[str, ...]) -> None:
    """Without one of the protections a run is not exact, in the way that belongs to that protection."""
    await asyncio.gather(*(fails(name) for name in names))


async def fails(name: str) -> None:
    """See a control fail as it must; one seed of a few is enough, but none may fail in another way."""
    for _ in range(TRIES):
        status, text = await run(random.randrange(1, 1_000_000), CONTROL, "--control", name)
        print(text)
        if ": exact (" not in text:
            break
    assert status == 0 and CONTROLS[name].expected in text and "(as it must)" in text, text
