"""One run: a Postgres, two hubs, writers and clients, everything that goes wrong, and the verdict.

Owns the order of a run: build, break, heal, wait, compare. Every process and folder of it is gone
when it ends.
"""

import asyncio
import contextlib
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from hub.embedded import server as embedded
from hub.postgres import migrations
from hub.protocol import ALL
from tests.faults import controls
from tests.faults.chaos import Chaos, admin, schedule
from tests.faults.clients import Driver
from tests.faults.controls import Control
from tests.faults.exactness import Finding, Truth, check
from tests.faults.hubs import ManagedHub, managed
from tests.faults.writers import TOPICS, Writers

WRITERS = 16
PAUSE = 0.03  # seconds between a writer's transactions, on average
DROP_SHARE = 0.03  # of the notifications
HEAL = 40.0  # seconds until every client must have everything, once all is well
# Small buffers, so that slow clients and returning ones really are served from the log.
HUB_OPTIONS = (("--high-water", "20000", "--ring-bytes", "300000"), ("--high-water", "20000"))
FOLLOWED = ((ALL,), (ALL,), (ALL,), (ALL,), (ALL,), ("lobby",), ("ops",), ("news", "chat"), ("lobby", "random"))
FOLLOWED += (("ops", "news"), ("chat",), ("random", "ops"))
MORTAL = 2  # clients of these that are gone for good half-way


@dataclass
class Result:
    """What a run was, and what was wrong in it."""

    seed: int
    events: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    writers: Counter[str] = field(default_factory=Counter)
    clients: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    def proves(self, control: Control) -> bool:
        """Whether the run went as it must: exact, or for a control, wrong in the way that belongs to it."""
        kinds = {finding.kind for finding in self.findings}
        if not control.expected:
            return not kinds
        return control.expected in kinds and kinds <= control.follows | {control.expected}


async def run(seed: int, seconds: float, control: Control = controls.NONE, keep: Path | None = None) -> Result:
    """Build a world, break it for some seconds, heal it and compare."""
    folder = Path(tempfile.mkdtemp(prefix="notes-faults-"))
    result = Result(seed)
    try:
        async with embedded.running(folder / "data") as url, contextlib.AsyncExitStack() as stack:
            async with admin(url) as database:
                await migrations.migrate(database)
                if not control.lock:
                    await controls.take_out_lock(database)
            hubs = [
                await stack.enter_async_context(managed(url, folder / f"hub{n}.log", control.hub_options, options))
                for n, options in enumerate(HUB_OPTIONS)
            ]
            await _run(result, seconds, control, url, folder, hubs)
    finally:
        if keep:
            (keep / f"seed-{seed}").mkdir(parents=True, exist_ok=True)
            for log in (*folder.glob("*.log"), *folder.glob("data/*.log")):
                shutil.copy(log, keep / f"seed-{seed}")
        shutil.rmtree(folder, ignore_errors=True)
    return result


async def _run(
    result: Result, seconds: float, control: Control, url: str, folder: Path, hubs: list[ManagedHub]
) -> None:
    seed, addresses = result.seed, [hub.address for hub in hubs]
    for number, hub in enumerate(hubs):
        async with asyncio.timeout(20):
            await hub.answers()
        hub.proxy.random.seed(f"{seed} proxy {number}")
        hub.proxy.drop_share = DROP_SHARE
    writers = Writers(url, seed, PAUSE)
    drivers = [
        Driver(f"client {n}", seed, control.client, topics, addresses, control.habits)
        for n, topics in enumerate(FOLLOWED)
    ]
    chaos = Chaos(url, folder / "data", hubs)
    async with asyncio.TaskGroup() as tasks:
        writing = [tasks.create_task(writers.run(number)) for number in range(WRITERS)]
        driving = {driver.name: tasks.create_task(driver.run()) for driver in drivers}
        breaking = tasks.create_task(chaos.run(schedule(seed, seconds, len(hubs), control.faults)))
        await asyncio.sleep(seconds / 2)
        mortal = drivers[3 : 3 + MORTAL]
        for driver in mortal:
            driving[driver.name].cancel()
            for period in driver.periods:
                period.closed = True
        await asyncio.wait([breaking])
        result.faults = chaos.counts
        for hub in hubs:
            hub.proxy.heal()
            result.faults["notification_dropped"] += hub.proxy.dropped
        writers.stopping = True
        await asyncio.wait(writing)
        for driver in drivers:
            driver.calm = True
        await _settle(result, url, [driver for driver in drivers if driver not in mortal])
        for task in driving.values():
            task.cancel()
    for hub in hubs:
        hub.look()
        result.findings += [Finding("hub_died", hub.address, text) for text in hub.died]
    async with admin(url) as database:
        truth = await Truth.read(database)
    for driver in drivers:
        result.findings += check(truth, driver)
        (folder / f"{driver.name}.log").write_text("\n".join(driver.trace))
        result.clients += driver.counts
        result.clients["published"] += len(driver.tokens)
        result.clients["accepted"] += len(driver.accepted)
    result.events, result.writers = len(truth.log), writers.counts


async def _settle(result: Result, url: str, drivers: list[Driver]) -> None:
    """Write one last note into each topic, and wait until every client has what concerns it.

    Only once all that clients still had to publish is saved: a note that is acknowledged after the last ones of the
    topics would be nobody's to wait for.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(HEAL):
            while any(driver.client.outbox for driver in drivers):
                await asyncio.sleep(0.02)
    async with admin(url, 20) as database:
        for topic in TOPICS:
            await database.execute("insert into note (topic, username, body) values ($1, 'end', 'end')", topic)
        rows = await database.fetch("select topic, max(seq) from note_event where op = 'insert' group by topic")
    heads: dict[str, int] = dict(map(tuple, rows))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(HEAL):
            while not all(driver.reached(heads) for driver in drivers):
                await asyncio.sleep(0.02)
    for driver in drivers:
        if not driver.reached(heads):
            client = driver.client
            state = f"at {client.cursor}, live {client.live}, {len(client.outbox)} notes in its outbox"
            text = f"after {HEAL:.0f} s it follows {sorted(client.topics)} {state}; the heads are {heads}"
            result.findings.append(Finding("not_reached", driver.name, text))
