"""What tests share: one real Postgres for the whole run, a fresh database for each test, hubs on it."""

import asyncio
import contextlib
import itertools
import json
import signal
from collections.abc import AsyncIterator, Callable, Iterator
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

# A shell lets what it runs in the background ignore Ctrl-C, and the programs that tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Postgres without durability, for this run alone."""
    folder = tmp_path_factory.mktemp("postgres")
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


@pytest.fixture
async def empty_url(server: str) -> str:
    """A database without anything in it."""
    return await _create(server, "template1")


@pytest.fixture
async def url(server: str) -> str:
    """A database with the schema and no notes."""
    return await _create(server, "notes")


async def _create(server: str, template: str) -> str:
    name = f"test_{next(numbers)}"
    connection = await asyncpg.connect(with_name(server, "postgres"))
    try:
        await connection.execute(f"create database {name} template {template} strategy file_copy")
    finally:
        await connection.close()
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
