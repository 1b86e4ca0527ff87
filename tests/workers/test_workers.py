"""Several workers on one port: who gets the clients, and what becomes of them when workers or their parent end."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import msgspec
import pytest
from structlog.testing import capture_logs

import hub
from hub.client.events import Interrupted
from hub.protocol import GOING_AWAY, CaughtUp, Note, Welcome
from hub.settings import Settings
from hub.workers import supervisor
from hub.workers.sockets import bound
from tests.conftest import connect
from tests.programs import HubProcess, hub_process, output
from tests.proxy import proxied

INSERT = "insert into note (username, body) values ('gb', $1)"
SERVE = (sys.executable, "-m", "hub", "serve", "--workers", "2")


class Two(HubProcess):
    """A hub of two workers."""

    def events(self, name: str) -> list[dict[str, object]]:
        """What it has logged under a name."""
        return [entry for entry in map(json.loads, self.lines) if entry["event"] == name]

    def pids(self) -> dict[int, int]:
        """The processes of its workers, by their numbers."""
        return {int(entry["worker"]): int(entry["pid"]) for entry in self.events("worker_started")}


@contextlib.asynccontextmanager
async def two_workers(url: str, *options: str) -> AsyncIterator[Two]:
    """A hub of two workers that both listen."""
    async with hub_process(url, options=("--workers", "2", *options)) as running:
        running.__class__ = Two
        await running.until('"listening"')
        yield running


async def metric(address: str, name: str) -> dict[str, int]:
    """A metric of each worker, by its number."""
    page = await output("curl", "-s", f"{address}/metrics")
    found = re.findall(rf'^{name}{{worker="(.*)"}} (\S+)$', page, re.MULTILINE)
    return {worker: int(float(value)) for worker, value in found}


class Follower:
    """A `hub.connect` that keeps what it gets."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.interruptions = 0
        self.live = asyncio.Event()
        self.complete = asyncio.Event()

    async def run(self, address: str, last: str) -> None:
        """Follow until the note with the body `last`."""
        async with hub.connect(address) as signals:
            async for each in signals:
                if isinstance(each, CaughtUp):
                    self.live.set()
                elif isinstance(each, Interrupted):
                    self.interruptions += 1
                elif isinstance(each, Note):
                    self.notes.append(each.body)
                    if each.body == last:
                        return


@contextlib.asynccontextmanager
async def followers(address: str, count: int, last: str) -> AsyncIterator[list[Follower]]:
    """Live followers; at the end of the block each must come to the note `last`."""
    crowd = [Follower() for _ in range(count)]
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        for each in crowd:
            tasks.create_task(each.run(address, last))
        for each in crowd:
            await each.live.wait()
        yield crowd


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits for its parent's word does not."""
    try:
        return " (zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


async def test_the_port_is_shared(url: str, database: asyncpg.Connection) -> None:
    """Both workers get their share even of a storm of connections, all get every note, and /metrics counts for both."""
    async with two_workers(url) as hub, contextlib.AsyncExitStack() as stack:
        joining = (stack.enter_async_context(connect(hub.address)) for _ in range(300))
        crowd = await asyncio.gather(*joining)
        for client in crowd:
            await client.until(Welcome)
        shares = await metric(hub.address, "hub_connections")
        assert list(shares) == ["1", "2"] and sum(shares.values()) == 300 and min(shares.values()) > 105, shares
        await database.execute(INSERT, "to all")
        assert {(await client.until(Note)).body for client in crowd} == {"to all"}
        assert await metric(hub.address, "hub_deliveries_total") == shares
        assert set((await metric(hub.address, "hub_listening")).values()) == {1}


async def test_a_worker_is_killed(url: str, database: asyncpg.Connection) -> None:
    """Its clients miss nothing, those of the other notice nothing, and another takes its place."""
    async with two_workers(url) as hub, followers(hub.address, 16, "last") as crowd:
        await database.execute(INSERT, "before")
        shares, killed = await metric(hub.address, "hub_connections"), hub.pids()[1]
        os.kill(killed, signal.SIGKILL)
        await database.execute(INSERT, "meanwhile")
        await hub.until('"listening"')
        await database.execute(INSERT, "last")
    assert {tuple(each.notes) for each in crowd} == {("before", "meanwhile", "last")}
    assert sum(each.interruptions > 0 for each in crowd) == shares["1"] > 0 < shares["2"]
    assert hub.pids()[1] != killed and hub.events("worker_lost")[0]["pid"] == killed


async def test_workers_are_replaced(url: str, database: asyncpg.Connection) -> None:
    """At SIGHUP, whoever follows and publishes, every note comes once and in order, and the port always answers."""
    async with two_workers(url) as running, followers(running.address, 8, "last") as crowd:
        before, done = running.pids(), asyncio.Event()
        refused: Counter[str] = Counter()

        async def insert() -> None:
            for number in range(100_000):
                if done.is_set():
                    return
                await database.execute(INSERT, f"inserted {number}")

        async def publish() -> None:
            async with hub.connect(running.address, topics=[]) as publisher:
                for number in range(100_000):
                    if done.is_set():
                        return
                    await publisher.publish("gb", f"published {number}", topic="lobby")

        async def knock() -> None:
            while not done.is_set():
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", int(running.address.rpartition(":")[2]))
                    writer.close()
                except ConnectionError as error:
                    refused[type(error).__name__] += 1
                await asyncio.sleep(0.002)

        async with asyncio.TaskGroup() as tasks:
            for work in (insert(), publish(), knock()):
                tasks.create_task(work)
            running.process.send_signal(signal.SIGHUP)
            await running.until('"workers_replaced"')
            done.set()
        await database.execute(INSERT, "last")
    rows = await database.fetch("select n.body from note n join note_event e using (rowid) order by e.seq")
    written = [row["body"] for row in rows]
    assert Counter(written).most_common(1)[0][1] == 1 and sum(body.startswith("published") for body in written) > 10
    assert all(each.notes == written for each in crowd) and all(each.interruptions for each in crowd)
    assert not refused and not set(before.values()) & set(running.pids().values())
    assert not any(map(alive, before.values()))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
async def test_the_end(url: str, number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told to stop, and killed as well, nothing stays: clients are told, no worker, folder or holder of the port."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    async with two_workers(url) as hub, contextlib.AsyncExitStack() as stack:
        assert len(list(tmp_path.glob("*/[12]"))) == 2
        crowd = [await stack.enter_async_context(connect(hub.address)) for _ in range(8)]
        for client in crowd:
            await client.until(Welcome)
        pids, port = hub.pids(), int(hub.address.rpartition(":")[2])
        assert await hub.end(number) == (0 if number != signal.SIGKILL else -signal.SIGKILL)
        for client in crowd:
            assert (await client.socket.receive(timeout=10)).data == GOING_AWAY
        async with asyncio.timeout(10):
            while any(map(alive, pids.values())):  # only without its parent has a worker anything left to do here
                assert number == signal.SIGKILL
                await asyncio.sleep(0.02)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        assert "Traceback" not in await hub.rest()
        assert not list(tmp_path.iterdir())


async def test_open_to_others(url: str) -> None:
    """On an address that others can reach, a hub without rights warns at its start; on loopback it does not."""
    async with hub_process(url, options=("--host", "0.0.0.0")) as open_hub, hub_process(url) as closed:
        assert "no_authentication" in open_hub.lines[0] and '"warning"' in open_hub.lines[0]
        assert "no_authentication" not in "".join(closed.lines)


async def test_hung_up_alone(url: str) -> None:
    """A hub of one process drains at SIGHUP as at SIGTERM: its clients are told, and it ends well."""
    async with hub_process(url) as alone, connect(alone.address) as client:
        await client.until(Welcome)
        assert await alone.end(signal.SIGHUP) == 0
        assert (await client.socket.receive(timeout=10)).data == GOING_AWAY
        assert "Traceback" not in await alone.rest()


async def test_a_worker_that_does_not_become_ready(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost worker's successor that gets no answer from the database holds up no replacement by SIGHUP."""
    monkeypatch.setattr(supervisor, "START_SECONDS", 0.2)
    stop = asyncio.Event()

    async def log(event: str) -> dict[str, object]:
        while not (found := [entry for entry in logs if entry["event"] == event]):
            await asyncio.sleep(0.01)
        return found[-1]

    settings = Settings(port=0, workers=1, shutdown_timeout=0.2)
    async with (
        proxied(url) as proxy,
        bound(settings) as sockets,
        asyncio.timeout(20),
        asyncio.TaskGroup() as tasks,
    ):
        settings = msgspec.structs.replace(settings, database_url=proxy.url)
        with capture_logs() as logs:
            tasks.create_task(supervisor.serve(settings, sockets, stop))
            first = await log("worker_started")
            address = (await log("serving"))["address"]
            while (await metric_or_none(address)) != {"1": 1}:
                await asyncio.sleep(0.05)
            proxy.open.clear()
            os.kill(int(str(first["pid"])), signal.SIGKILL)
            await log("worker_lost")
            while len([entry for entry in logs if entry["event"] == "worker_started"]) < 2:
                await asyncio.sleep(0.01)
            os.kill(os.getpid(), signal.SIGHUP)
            assert "not ready within" in str((await log("worker_not_replaced"))["reason"])
            stop.set()


async def metric_or_none(address: object) -> dict[str, int]:
    """The metric hub_listening of each worker; nothing while none answers."""
    try:
        return await metric(str(address), "hub_listening")
    except AssertionError:
        return {}


@pytest.mark.parametrize("options", [(), ("--workers", "2")])
async def test_a_taken_port_is_found_first(tmp_path: Path, options: tuple[str, ...]) -> None:
    """A taken port is one line, before a database is started or even its folder made."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        serve = (sys.executable, "-m", "hub", "serve", "--port", port, *options)
        text = await output(*serve, "--data-dir", str(tmp_path / "data"), status=1)
        assert text.splitlines() == [text.strip()] and text.startswith("Error: cannot listen on 127.0.0.1 port " + port)
        assert "--port" in text and not list(tmp_path.iterdir())


async def test_the_port_is_taken(url: str) -> None:
    """A second hub of workers on the port is refused in one line, and does not share it."""
    async with two_workers(url) as hub:
        port = hub.address.rpartition(":")[2]
        text = await output(*SERVE, "--port", port, DATABASE_URL=url, status=1)
        words = [line for line in text.splitlines() if not line.startswith("{")]
        assert len(words) == 1 and words[0].startswith("Error: ") and port in words[0] and "in use" in words[0]


async def test_workers_that_cannot_serve(url: str) -> None:
    """What no worker can do its work with is one line, and the end."""
    async with proxied(url) as proxy:
        proxy.drop_notifications = True
        text = await output(*SERVE, "--port", "0", DATABASE_URL=proxy.url, status=1)
        words = [line for line in text.splitlines() if not line.startswith("{")]
        assert len(words) == 1 and words[0].startswith("Error: LISTEN succeeds"), text
