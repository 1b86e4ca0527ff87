"""Reads for a crowd that catches up: shared, few at a time, counted; and what a stalled client costs."""

import asyncio
import re
import socket
from collections.abc import Sequence

import asyncpg
import pytest

from hub.errors import Unavailable
from hub.feed.events import Event
from hub.feed.shared_reads import PARALLEL, SharedReads
from hub.postgres.store import Store
from hub.protocol import Note
from tests.conftest import connect
from tests.programs import output

INSERT = "insert into note (username, body) select 'gb', n::text from generate_series(1, $1) n"


class SlowStore(Store):
    """A store whose reads end when the test says so."""

    def __init__(self) -> None:
        self.running = self.most = 0
        self.go = asyncio.Event()
        self.error: Exception | None = None

    async def events(self, after: int, until: int | None, topics: Sequence[str] | None, limit: int) -> list[Event]:
        self.running += 1
        self.most = max(self.most, self.running)
        await self.go.wait()
        self.running -= 1
        if self.error:
            raise self.error
        return [Event(after + 1, None, None)]


async def test_shared_reads() -> None:
    """Clients with the same question share one read, which goes on when the one who asked first leaves."""
    store = SlowStore()
    async with asyncio.TaskGroup() as tasks:
        reads = SharedReads(store, tasks.create_task)
        same = [tasks.create_task(reads.events(7, 9, ["a"], 5)) for _ in range(50)]
        await asyncio.sleep(0)
        same[0].cancel()
        store.go.set()
        assert {(await each)[0].seq for each in same[1:]} == {8}
        assert reads.reads == 1
        assert (await reads.events(7, 9, ["a"], 5))[0].seq == 8 and reads.reads == 2


async def test_few_reads_at_a_time() -> None:
    """Different questions wait for each other, so that those who publish always find a connection."""
    store = SlowStore()
    async with asyncio.TaskGroup() as tasks:
        reads = SharedReads(store, tasks.create_task)
        different = [tasks.create_task(reads.events(number, 99, None, 5)) for number in range(20)]
        for _ in range(5):
            await asyncio.sleep(0)
        assert store.running == PARALLEL
        store.go.set()
        await asyncio.gather(*different)
        assert store.most == PARALLEL and reads.reads == 20


async def test_failed_read() -> None:
    """Everybody who shares a read that fails learns it, and the next read is a new one."""
    store = SlowStore()
    store.error = Unavailable("gone")
    store.go.set()
    async with asyncio.TaskGroup() as tasks:
        reads = SharedReads(store, tasks.create_task)
        results = await asyncio.gather(*(reads.events(1, 2, None, 5) for _ in range(3)), return_exceptions=True)
        assert [type(result) for result in results] == [Unavailable] * 3
        store.error = None
        assert await reads.events(1, 2, None, 5)


async def test_crowd_from_the_ring(start_hub, database: asyncpg.Connection) -> None:
    """A crowd that comes back with recent cursors is served without one query to the log, counted by a metric."""
    await database.execute(INSERT, 300)
    cursor = await database.fetchval("select seq from note_event order by seq offset 99 limit 1")
    async with start_hub() as (hub, address):

        async def come_back() -> int:
            async with connect(address, f"/ws?after={cursor}") as client:
                return len([await client.until(Note) for _ in range(200)])

        assert await asyncio.gather(*(come_back() for _ in range(50))) == [200] * 50
        metrics = await output("curl", "-s", address + "/metrics")
        assert re.search(r"^hub_log_reads_total 0.0$", metrics, re.MULTILINE)
        assert hub.shared_reads.reads == 0


async def test_crowd_from_the_log(start_hub, database: asyncpg.Connection) -> None:
    """A crowd whose common cursor is older than the ring shares the reads of the log, page by page."""
    await database.execute(INSERT, 3000)
    cursor = await database.fetchval("select min(seq) from note_event")
    async with start_hub(ring_bytes=100_000) as (hub, address):

        async def come_back() -> list[str]:
            async with connect(address, f"/ws?after={cursor}") as client:
                return [(await client.until(Note)).body for _ in range(2999)]

        everything = [str(number) for number in range(2, 3001)]
        assert await asyncio.gather(*(come_back() for _ in range(8))) == [everything] * 8
        # Six pages and a check of the cursor, each for the crowd or for a few that were out of step.
        assert hub.shared_reads.reads <= 8 * 7 / 2


ROUNDS = 40  # of a thousand notes: more than the kernel's own buffers take


@pytest.mark.parametrize("path", ["/ws", "/listen_notes"])
async def test_stalled_client(start_hub, database: asyncpg.Connection, path: str) -> None:
    """A client that stops reading costs a send buffer at most, and gets every note once it reads again."""
    async with start_hub(high_water=100_000, ring_bytes=200_000, check_interval=60) as (hub, address):
        host, port = address.removeprefix("http://").split(":")
        narrow = socket.socket()
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        narrow.connect((host, int(port)))
        reader, writer = await asyncio.open_connection(sock=narrow, limit=1 << 14)
        key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        upgrade = f"Upgrade: websocket\r\nConnection: Upgrade\r\n{key}" if path == "/ws" else ""
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{upgrade}\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        async with asyncio.timeout(5):
            while not hub.connections:
                await asyncio.sleep(0)
        (connection,) = hub.connections
        most = 0
        for _ in range(ROUNDS):
            await database.execute(INSERT, 1000)
            async with asyncio.timeout(10):
                while hub.broadcaster.head < await database.fetchval("select max(seq) from note_event"):
                    await asyncio.sleep(0)
            most = max(most, connection.unsent)
        # The page or the turn that went over the limit is the last that was written.
        assert 100_000 < most < 100_000 + 1_000_000
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        data = b""
        async with asyncio.timeout(60):
            while data.count(b'"body":"') < ROUNDS * 1000:
                data += await reader.read(1 << 20)
        bodies = re.findall(rb'"body":"(\d+)"', data)
        assert bodies == [b"%d" % number for number in range(1, 1001)] * ROUNDS
        writer.close()
