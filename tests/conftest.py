"""What tests share: a real Postgres for each process of the run, a fresh database for each test, hubs on it."""

import asyncio
import contextlib
import fcntl
import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
from asyncio import constants
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import asyncpg
import pytest

from hub.embedded import server as embedded
from hub.postgres import migrations
from hub.protocol import Message
from hub.protocol.codec import decode_message, encode
from hub.server import app
from hub.server.context import Context
from hub.settings import Settings

T = TypeVar("T")
numbers = itertools.count(1)

# Most of what a test waits for is files: a new database has 300 of them. In memory they cost a third.
MEMORY = Path("/dev/shm")
ENOUGH = 1 << 30  # bytes; Docker's default is less
if "TMPDIR" not in os.environ and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ENOUGH:
    os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)

# Asyncio's debug mode keeps the stack of each callback; the last frames say enough, and cost a third less of the run.
constants.DEBUG_STACK_DEPTH = 3

# What takes longest begins first, so that no process is left with a long test when the others have ended.
LONGEST = ("tests/test_faults.py", "tests/web/", "tests/workers/", "tests/embedded/", "tests/postgres/", "tests/cli/")

# A shell lets what it runs in the background ignore Ctrl-C, and the programs that tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest."""

    def rank(item: pytest.Item) -> int:
        return next((n for n, place in enumerate(LONGEST) if item.nodeid.startswith(place)), len(LONGEST))

    items.sort(key=rank)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that was made once for the whole run, whatever the number of processes; tests work on copies."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    made, new = folder / "cluster", folder / "cluster.new"
    with open(folder / "cluster.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            asyncio.run(_make_cluster(new))
            new.rename(made)
    return made


async def _make_cluster(folder: Path) -> None:
    async with embedded.running(folder, fast=True):
        pass


def copy(cluster: Path, folder: Path) -> None:
    """Make a data folder with a copy of a cluster in it."""
    folder.mkdir(mode=0o700, parents=True)
    subprocess.run(["cp", "-Rp", cluster / "postgres", folder], check=True)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, cluster: Path) -> Iterator[str]:
    """The URL of a Postgres without durability, for this process alone."""
    folder = tmp_path_factory.mktemp("server") / "data"
    copy(cluster, folder)
    with asyncio.Runner() as runner:
        running = embedded.running(folder, fast=True)
        url = runner.run(running.__aenter__())
        runner.run(_make_template(url))
        try:
            yield url
        finally:
            runner.run(running.__aexit__(None, None, None))


async def _make_template(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await migrations.migrate(connection)
    finally:
        await connection.close()


def with_name(url: str, name: str) -> str:
    """The URL of another database on the same server."""
    return url.replace("/notes?", f"/{name}?")


def name_of(url: str) -> str:
    """The name of a database."""
    return url.partition("?")[0].rpartition("/")[2]


@pytest.fixture
async def empty_url(server: str) -> AsyncIterator[str]:
    """A database without anything in it."""
    async with _created(server, "template1") as url:
        yield url


@pytest.fixture
async def url(server: str) -> AsyncIterator[str]:
    """A database with the schema and no notes."""
    async with _created(server, "notes") as url:
        yield url


@contextlib.asynccontextmanager
async def _created(server: str, template: str) -> AsyncIterator[str]:
    url = await _create(server, template)
    try:
        yield url
    finally:
        async with connected(with_name(server, "postgres")) as connection:
            await connection.execute(f"drop database {name_of(url)} with (force)")


async def _create(server: str, template: str) -> str:
    name = f"test_{next(numbers)}"
    async with connected(with_name(server, "postgres")) as connection:
        await connection.execute(f"create database {name} template {template} strategy file_copy")
    return with_name(server, name)


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a database, as any program may have one."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def database(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the test's database."""
    async with connected(url) as connection:
        yield connection


def settings(**changes: Any) -> Settings:
    """Settings for tests: any free port."""
    return Settings(**{"port": 0, **changes})


@pytest.fixture
def start_hub(url: str) -> Callable[..., contextlib.AbstractAsyncContextManager[tuple[Context, str]]]:
    """``async with start_hub(high_water=…) as (hub, address)``: a listening hub on the test's database."""

    @contextlib.asynccontextmanager
    async def start(database_url: str = url, **changes: Any) -> AsyncIterator[tuple[Context, str]]:
        async with app.serving(settings(**changes), database_url) as (hub, address):
            async with asyncio.timeout(10):
                await hub.listener.ready.wait()
            yield hub, address

    return start


@contextlib.asynccontextmanager
async def kept_busy(hub: Context, database: asyncpg.Connection) -> AsyncIterator[None]:
    """All connections for what clients ask are in use, and more wait for one."""
    size, sleeping = hub.settings.pool_size, "query = 'select pg_sleep(30)' and datname = current_database()"
    asked = [asyncio.ensure_future(hub.store.fetch("select pg_sleep(30)")) for _ in range(size + 8)]
    async with asyncio.timeout(5):
        while await database.fetchval(f"select count(*) from pg_stat_activity where {sleeping}") < size:
            await asyncio.sleep(0.01)
    try:
        yield
    finally:
        for each in asked:
            each.cancel()
        await asyncio.wait(asked)


class Http:
    """A client of one hub."""

    def __init__(self, session: aiohttp.ClientSession, address: str) -> None:
        self._session, self._address = session, address

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any, Any]:
        """Status, headers, and the body, decoded where it is JSON."""
        async with (
            asyncio.timeout(10),
            self._session.request(method, self._address + path, allow_redirects=False, **options) as reply,
        ):
            body = await reply.read()
            return (
                reply.status,
                reply.headers,
                json.loads(body) if body and reply.content_type.endswith("json") else body,
            )

    async def get(self, path: str, **options: Any) -> tuple[int, Any, Any]:
        return await self.ask("GET", path, **options)

    async def post(self, data: Any, **headers: str) -> tuple[int, Any, Any]:
        return await self.ask("POST", "/notes", data=data, headers={k.replace("_", "-"): v for k, v in headers.items()})


@pytest.fixture
async def http(start_hub) -> AsyncIterator[Http]:
    async with start_hub() as (_, address), aiohttp.ClientSession() as session:
        yield Http(session, address)


def is_error(answer: tuple[int, Any, Any], status: int) -> bool:
    """Whether it is this status with a code, a message and a hint as JSON."""
    body = answer[2]
    return answer[0] == status and isinstance(body, dict) and all(body[name] for name in ("code", "message", "hint"))


class Client:
    """A WebSocket client that reads one message after the other."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def receive(self) -> Message:
        """The next message, within seconds."""
        frame = await self.socket.receive(timeout=10)
        assert frame.type is aiohttp.WSMsgType.TEXT, frame
        return decode_message(frame.data)

    async def until(self, kind: type[T]) -> T:
        """The next message of a kind; others are passed over."""
        while not isinstance(message := await self.receive(), kind):
            pass
        return message

    async def send(self, message: Any) -> None:
        """Send a command, or any text as it is."""
        await self.socket.send_str(message if isinstance(message, str) else encode(message).decode())


@contextlib.asynccontextmanager
async def connect(address: str, path: str = "/ws", **options: Any) -> AsyncIterator[Client]:
    """A WebSocket to a hub, at its address from start_hub."""
    async with aiohttp.ClientSession() as http, http.ws_connect(address + path, **options) as socket:
        yield Client(socket)
