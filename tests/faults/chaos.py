"""What goes wrong in a run, and when: a schedule made of the seed, and the hands that carry it out.

Owns no process: hubs and proxies are given, Postgres's are found by what the server itself says of them.
"""

import asyncio
import contextlib
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import asyncpg

from tests.faults.hubs import ManagedHub

WEIGHTS = {
    "hub_kill": 3,
    "listener_kill": 3,
    "writer_kill": 3,
    "listener_freeze": 2,
    "cut": 3,
    "black_hole": 2,
    "strand": 2,
    "throttle": 2,
    "postgres_fast": 1,
    "postgres_immediate": 1,
}
TRUNCATE_EVERY = 4  # one seed in so many truncates the table too
MAX_STOPS = 2  # of Postgres in one run; its keeper waits longer before each further start
PATIENCE = 10.0  # seconds to find Postgres answering
LOST = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class Fault(NamedTuple):
    """One thing that goes wrong: at a time, for a time (seconds), to a hub."""

    at: float
    kind: str
    hub: int
    lasts: float


def schedule(seed: int, seconds: float, hubs: int, kinds: Sequence[str] = ()) -> list[Fault]:
    """The faults of a run: each kind at least once, the rest by chance; the same for the same arguments."""
    rng = random.Random(f"{seed} faults")
    weights = {kind: weight for kind, weight in WEIGHTS.items() if not kinds or kind in kinds}
    chosen = list(weights)
    if not kinds and seed % TRUNCATE_EVERY == 0:
        chosen.append("truncate")
    while len(chosen) < seconds * 1.4:
        kind = rng.choices(list(weights), list(weights.values()))[0]
        if not kind.startswith("postgres") or sum(each.startswith("postgres") for each in chosen) < MAX_STOPS:
            chosen.append(kind)
    rng.shuffle(chosen)
    times = sorted(rng.uniform(0.5, seconds) for _ in chosen)
    longest = min(4.0, seconds / 4)
    return [
        Fault(at, kind, rng.randrange(hubs), rng.uniform(0.5, longest)) for at, kind in zip(times, chosen, strict=True)
    ]


class Chaos:
    """Carries out a schedule."""

    def __init__(self, url: str, data_dir: Path, hubs: Sequence[ManagedHub]) -> None:
        self.counts = Counter[str]()
        self._url = url
        self._pid_file = data_dir / "postgres" / "postmaster.pid"
        self._hubs = hubs

    async def run(self, faults: Sequence[Fault]) -> None:
        """All of it; when it returns, everything is running again."""
        start = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as tasks:
            for fault in faults:
                await asyncio.sleep(start + fault.at - asyncio.get_running_loop().time())
                tasks.create_task(self._do(fault))

    async def _do(self, fault: Fault) -> None:
        with contextlib.suppress(*LOST):  # another fault was quicker
            if await getattr(self, "_" + fault.kind)(self._hubs[fault.hub], fault.lasts) is not False:
                self.counts[fault.kind] += 1

    async def _hub_kill(self, hub: ManagedHub, lasts: float) -> None:
        await hub.restart(lasts / 4)

    async def _listener_kill(self, hub: ManagedHub, lasts: float) -> bool:
        return await self._terminate("notes-hub listener")

    async def _writer_kill(self, hub: ManagedHub, lasts: float) -> bool:
        return await self._terminate("fault writer")

    async def _terminate(self, name: str) -> bool:
        sql = """
            select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1 order by random() limit 1
        """
        async with admin(self._url) as database:
            return bool(await database.fetchval(sql, name))

    async def _listener_freeze(self, hub: ManagedHub, lasts: float) -> bool:
        sql = "select pid from pg_stat_activity where application_name = 'notes-hub listener' order by random() limit 1"
        async with admin(self._url) as database:
            pid = await database.fetchval(sql)
        if not pid:
            return False
        with frozen(pid):
            await asyncio.sleep(lasts)
        return True

    async def _cut(self, hub: ManagedHub, lasts: float) -> None:
        hub.proxy.cut()

    async def _black_hole(self, hub: ManagedHub, lasts: float) -> None:
        hub.proxy.open.clear()
        await asyncio.sleep(min(lasts, 3))
        if lasts * 1000 % 2 < 1:  # what was on its way is lost, or only late
            hub.proxy.cut()
        hub.proxy.open.set()

    async def _strand(self, hub: ManagedHub, lasts: float) -> None:
        hub.proxy.strand()

    async def _throttle(self, hub: ManagedHub, lasts: float) -> None:
        hub.proxy.bytes_per_second = 100_000
        await asyncio.sleep(lasts)
        hub.proxy.bytes_per_second = None

    async def _postgres_fast(self, hub: ManagedHub, lasts: float) -> bool:
        return await self._stop_postgres(signal.SIGINT)

    async def _postgres_immediate(self, hub: ManagedHub, lasts: float) -> bool:
        return await self._stop_postgres(signal.SIGQUIT)

    async def _stop_postgres(self, number: int) -> bool:
        async with admin(self._url):  # it runs
            pid = int(self._pid_file.read_text().split()[0])
        os.kill(pid, number)
        async with asyncio.timeout(20):
            while runs(pid):
                await asyncio.sleep(0.02)
        async with admin(self._url, 20):
            return True

    async def _truncate(self, hub: ManagedHub, lasts: float) -> None:
        async with admin(self._url) as database:
            await database.execute("truncate note")


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """A backend of Postgres that stands still."""
    assert runs(pid), f"process {pid} is no Postgres"
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        if runs(pid):
            os.kill(pid, signal.SIGCONT)


def runs(pid: int) -> bool:
    """Whether a process of Postgres has this number."""
    try:
        return b"postgres" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


@contextlib.asynccontextmanager
async def admin(url: str, patience: float = PATIENCE) -> AsyncIterator[asyncpg.Connection]:
    """A connection straight to Postgres, as soon as it answers."""
    async with asyncio.timeout(patience):
        while True:
            try:
                connection = await asyncpg.connect(url, timeout=5, command_timeout=10)
                break
            except LOST:
                await asyncio.sleep(0.02)
    try:
        yield connection
    finally:
        connection.terminate()
