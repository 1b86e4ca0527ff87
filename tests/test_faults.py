"""The fault suite, shortened: one run that must be exact, and each control, which must not be.

The whole of it is ``python -m tests.faults``; each run here is one of its seeds, in a process of its own.
"""

import asyncio
import random
import sys
from datetime import UTC, datetime

import pytest

from hub.client.state import Client
from hub.protocol import Ack, CaughtUp, Limits, Message, Note, Reset, Welcome
from hub.protocol.codec import encode
from tests.faults.clients import Driver, Habits
from tests.faults.controls import CONTROLS
from tests.faults.exactness import Entry, Truth, check
from tests.faults.record import Period
from tests.programs import ROOT, environment

DEADLINE = 100.0  # seconds for a run, however slow the machine
EXACT = 7.0  # seconds of faults
CONTROL = 4.0
TRIES = 4  # seeds for a control: by luck, or on a slow machine, nothing may go wrong for some seconds


async def run(seed: int, seconds: float, *options: str) -> tuple[int, str]:
    """The status and the words of one run of a seed."""
    return await say("--seeds", "1", "--first-seed", str(seed), "--seconds", str(seconds), "--failover", "0", *options)


async def say(*options: str) -> tuple[int, str]:
    """The status and the words of the suite with these options."""
    command = ["-m", "tests.faults", *options]
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


async def test_failover() -> None:
    """Two Postgres change places: each note is saved once, none is refused; but for a hub that knows no codes."""
    options = ("--seeds", "0", "--failover", "1")
    exact, control = await asyncio.gather(say(*options), say(*options, "--without-states"))
    assert exact[0] == 0 and "failover: exact |" in exact[1], exact[1]
    assert control[0] == 0 and "failover: refused (as it must)" in control[1], control[1]


@pytest.mark.parametrize("names", [("lock", "prev"), ("dedup", "key")], ids=" and ".join)
async def test_controls_fail(names: tuple[str, ...]) -> None:
    """Without one of the protections a run is not exact, in the way that belongs to that protection."""
    await asyncio.gather(*(fails(name) for name in names))


def test_a_reset_told_again_widens_nothing_that_was_seen_before() -> None:
    """A client whose cursor a reset takes back, to before a topic was followed, is owed no more of what came before."""
    driver = Driver("client", 1, Client, ["b"], [], Habits())
    moment = datetime(2022, 5, 3, tzinfo=UTC)
    row = ("gb", "text", moment, moment)

    def take(*received: Message) -> None:
        for message in received:
            driver._take(encode(message).decode())

    def welcome(seq: int) -> Welcome:
        return Welcome("notes.v1", "x", seq, sorted(driver.client.topics), Limits(1, 1, 1, 1, 1.0))

    take(welcome(0), CaughtUp(0), Reset(150, "truncated"), Note(200, 3, "b", *row), CaughtUp(200))
    driver.client.subscribe("a")
    driver._open["a"] = Period("a", None)
    driver.periods.append(driver._open["a"])
    take(Ack("subscribe 1", 200), Note(210, 2, "a", *row))
    driver.client.closed(1006)
    take(welcome(155), Reset(150, "truncated"), Note(160, 9, "b", *row))  # a hub that was asked from before the reset
    driver.client.closed(1006)
    take(welcome(220), Note(165, 1, "a", *row), Note(200, 3, "b", *row), Note(210, 2, "a", *row), CaughtUp(220))
    log = [Entry(150, "truncate", None, None), Entry(160, "insert", 9, "b"), Entry(165, "insert", 1, "a")]
    log += [Entry(200, "insert", 3, "b"), Entry(210, "insert", 2, "a")]
    truth = Truth(log, [(rowid, topic, "gb", "text") for rowid, topic in ((9, "b"), (1, "a"), (3, "b"), (2, "a"))])
    findings = [each for each in check(truth, driver) if ", topic a, " in each.client]
    assert findings == []
    del driver._open["a"].seen[-1]
    assert {each.kind for each in check(truth, driver)} >= {"missing"}


async def fails(name: str) -> None:
    """See a control fail as it must; one seed of a few is enough, but none may fail in another way."""
    for _ in range(TRIES):
        status, text = await run(random.randrange(1, 1_000_000), CONTROL, "--control", name)
        print(text)
        if ": exact (" not in text:
            break
    assert status == 0 and CONTROLS[name].expected in text and "(as it must)" in text, text
