"""The world of a failover: two Postgres with streaming replication change places under hubs and publishers.

Owns both servers and the order of a switch. It is a planned one: the primary is stopped and sends all that it has. It
comes back as a standby, where the hubs meet it for a while as a server that takes no writes; then the other one is
promoted.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import asyncpg

import hub
from hub.client import Accepted
from hub.client.connection import Connection
from hub.embedded.cluster import Cluster
from hub.embedded.files import make_private, socket_dir
from hub.embedded.programs import stop
from hub.embedded.server import FAST_SETTINGS, SETTINGS, binary, database_url
from hub.embedded.user import give, identity
from hub.errors import HubError
from hub.postgres import migrations
from hub.protocol import Note
from tests.faults.chaos import admin
from tests.faults.exactness import Finding
from tests.faults.hubs import ManagedHub, managed

PUBLISHERS = 6
READ_ONLY = 1.0  # seconds for which the hubs are left on the server that was the primary
CALM = 1.0  # seconds before and after each switch
SETTLE = 20.0  # seconds for all that is under way once nothing goes wrong any more


class Server(Cluster):
    """One of the two servers."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir)
        data_dir.mkdir(mode=0o700)
        self.uid, self.become = identity(data_dir, data_dir.stat().st_uid)
        make_private(socket_dir(data_dir), {os.geteuid(), self.uid}, self.uid)
        give(data_dir, self.uid)
        self.url = database_url(data_dir)
        self._process: Process | None = None

    async def copy_of(self, other: "Server") -> None:
        """Make the files as a copy of a running server's."""
        host = str(socket_dir(other.data_dir))
        await self.run("pg_basebackup", "-D", str(self.pgdata), "-h", host, "-U", "postgres", "-c", "fast")

    async def start(self, primary: "Server | None" = None) -> None:
        """Start it, as a standby where a primary is given; returns once it answers."""
        settings = SETTINGS | FAST_SETTINGS | {"unix_socket_directories": str(socket_dir(self.data_dir))}
        if primary is not None:
            (self.pgdata / "standby.signal").touch()
            give(self.pgdata / "standby.signal", self.uid)
            settings["primary_conninfo"] = f"host={socket_dir(primary.data_dir)} port=5432 user=postgres"
        options = [f"--{name}={value}" for name, value in settings.items()]
        with self.log_path.open("ab") as log:
            command = [str(binary("postgres")), "-D", str(self.pgdata), *options]
            self._process = await self.spawn(command, asyncio.subprocess.DEVNULL, log.fileno(), signal.SIGINT)
        async with admin(self.url, 20):
            pass

    async def stop(self) -> None:
        """Stop it; a standby that follows gets everything first."""
        if self._process is not None:
            await stop(self._process)
            self._process = None


@contextlib.asynccontextmanager
async def pair(folder: Path) -> AsyncIterator[tuple[Server, Server]]:
    """A primary with the schema, and a standby that follows it."""
    primary, standby = Server(folder / "a"), Server(folder / "b")
    try:
        await primary.create(primary.uid, "--no-sync")
        await primary.start()
        async with admin(primary.url) as database:
            await migrations.migrate(database)
        await standby.copy_of(primary)
        await standby.start(primary)
        yield primary, standby
    finally:
        await standby.stop()
        await primary.stop()


async def switch(primary: Server, standby: Server, hubs: Sequence[ManagedHub]) -> None:
    """Let the two change places."""
    await primary.stop()
    await primary.start(standby)
    await asyncio.sleep(READ_ONLY)
    async with admin(standby.url) as database:
        await database.execute("select pg_promote()")
    for each in hubs:
        each.proxy.lead_to(standby.url)
        each.proxy.cut()


async def run(switches: int = 2, wrapper: Sequence[str] = ()) -> tuple[list[Finding], Counter[str]]:
    """Switch so often. Returns what was wrong, and how much was done."""
    folder = Path(tempfile.mkdtemp(prefix="notes-failover-"))
    folder.chmod(0o755)
    try:
        async with pair(folder) as servers, contextlib.AsyncExitStack() as stack:
            primary, standby = servers
            hubs = [
                await stack.enter_async_context(managed(primary.url, folder / f"hub{n}.log", wrapper)) for n in range(2)
            ]
            for each in hubs:
                await each.answers()
            world = _World(hubs)
            async with asyncio.TaskGroup() as tasks:
                following = [tasks.create_task(world.follow(each.address)) for each in hubs]
                publishing = [tasks.create_task(world.publish(number)) for number in range(PUBLISHERS)]
                for _ in range(switches):
                    await asyncio.sleep(CALM)
                    await switch(primary, standby, hubs)
                    primary, standby = standby, primary
                await asyncio.sleep(CALM)
                world.stopping = True
                _, late = await asyncio.wait(publishing, timeout=SETTLE)
                world.findings += [Finding("not_answered", "publisher", "a publish has no answer")] * len(late)
                async with admin(primary.url) as database:
                    await world.compare(database)
                for task in (*late, *following):
                    task.cancel()
            for each in hubs:
                each.look()
                world.findings += [Finding("hub_died", each.address, text) for text in each.died]
            return world.findings, world.counts
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _World:
    """Who publishes and who follows, and what became of it."""

    def __init__(self, hubs: Sequence[ManagedHub]) -> None:
        self.findings: list[Finding] = []
        self.counts = Counter[str]()
        self.stopping = False
        self._hubs = hubs
        self._saved: list[str] = []
        self._seen: dict[str, list[str]] = {}

    async def publish(self, number: int) -> None:
        """Publish one note after the other; each must be saved."""
        async with hub.connect(self._hubs[number % len(self._hubs)].address, []) as connection:
            drain = asyncio.ensure_future(_drain(connection))
            while not self.stopping:
                body = f"{number} {self.counts[f'of {number}']}"
                self.counts[f"of {number}"] += 1
                try:
                    assert isinstance(await connection.publish("gb", body), Accepted)
                    self._saved.append(body)
                except HubError as error:
                    self.findings.append(Finding("refused", f"publisher {number}", str(error)))
                await asyncio.sleep(0.01)
            drain.cancel()

    async def follow(self, address: str) -> None:
        """Follow everything there is."""
        seen = self._seen[address] = []
        async with hub.connect(address, ["*"], after=0) as connection:
            async for event in connection:
                if isinstance(event, Note):
                    seen.append(event.body)

    async def compare(self, database: asyncpg.Connection) -> None:
        """Compare what publishers and followers were told with the table."""
        rows = [
            row["body"]
            for row in await database.fetch("select body from note join note_event using (rowid) order by seq")
        ]
        self.counts["notes"] = len(rows)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE):
                while any(len(seen) < len(rows) for seen in self._seen.values()):
                    await asyncio.sleep(0.02)
        if twice := [body for body, count in Counter(rows).items() if count > 1]:
            self.findings.append(Finding("published_twice", "publishers", f"{twice[:5]}"))
        if lost := set(self._saved) - set(rows):
            self.findings.append(Finding("lost", "publishers", f"{len(lost)} that were acknowledged"))
        for address, seen in self._seen.items():
            if seen != rows:
                text = f"{len(seen)} notes of {len(rows)}, {len(set(seen))} different ones"
                self.findings.append(Finding("missing" if len(seen) <= len(rows) else "twice", address, text))


async def _drain(connection: Connection) -> None:
    async for _ in connection:
        pass
