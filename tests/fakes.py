"""A log in memory, clients without sockets, and a broadcaster between them: what the rules are tested with."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import cast

import pytest

from hub.delivery import outgoing
from hub.delivery.outgoing import WEBSOCKET, Outgoing
from hub.errors import Unavailable
from hub.feed import subscription as module
from hub.feed.broadcaster import Broadcaster
from hub.feed.events import Event
from hub.feed.ring import Ring
from hub.feed.subscription import Subscription
from hub.protocol import Deleted, Message, Note
from hub.protocol.codec import decode_message, encode

EVENT_BYTES = Event(1, "a", Deleted(1, 1, "a")).size
HIGH_WATER = 400


def line(message: Message, position: int | None = None) -> bytes:
    return encode(message) + b"\n"


class FakeTransport:
    """Takes everything; the kernel's part of it happens when a test lowers `unsent`."""

    def __init__(self) -> None:
        self.unsent = self.writes = 0
        self.closed = self.aborted = False
        self._protocol: asyncio.BaseProtocol = asyncio.Protocol()

    def write(self, data: bytes) -> None:
        self.unsent += len(data)
        self.writes += 1

    def get_extra_info(self, name: str) -> None:
        return None

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def is_closing(self) -> bool:
        return self.closed or self.aborted

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True


class FakeSink(FakeTransport):
    """A transport that keeps the messages it got."""

    def __init__(self) -> None:
        super().__init__()
        self.received: list[Message] = []

    def write(self, data: bytes) -> None:
        super().write(data)
        self.received += map(decode_message, data.splitlines())

    def events(self) -> list[Message]:
        return [message for message in self.received if isinstance(message, Note | Deleted)]

    def seqs(self) -> list[int]:
        return [message.seq for message in self.events()]


class FakeLog:
    """A log in memory that answers late, and sometimes not at all."""

    def __init__(self, choose: random.Random) -> None:
        self.entries: list[Event] = []
        self.reads = self.failures = 0
        self._choose = choose

    async def turn(self) -> None:
        await asyncio.sleep(0)

    async def _late(self) -> None:
        self.reads += 1
        for _ in range(self._choose.randrange(4)):
            await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise Unavailable("not now")

    async def events(self, after: int, until: int, topics: Sequence[str] | None, limit: int) -> list[Event]:
        await self._late()
        wanted = (e for e in self.entries if topics is None or e.topic is None or e.topic in topics)
        found = [e for e in wanted if after < e.seq <= until][:limit]
        await asyncio.sleep(0)
        return found

    async def holds(self, seq: int) -> bool:
        await self._late()
        return seq == 0 or any(event.seq == seq for event in self.entries)

    async def snapshot(self, topics: Sequence[str] | None, last: int) -> tuple[list[Note], int]:
        await self._late()
        notes = [e.message for e in self.entries if isinstance(e.message, Note) and (not topics or e.topic in topics)]
        return notes[-last:], self.entries[-1].seq if self.entries else 0


class World:
    """A broadcaster, its log, and tasks that somebody owns."""

    def __init__(self, tasks: asyncio.TaskGroup, ring_events: int = 4, seed: int = 0) -> None:
        self.log = FakeLog(random.Random(seed))
        loop = asyncio.get_running_loop()
        self.broadcaster = Broadcaster(loop.call_soon, loop.call_later, ring_events * EVENT_BYTES)
        self.tasks = tasks
        self.heard = 0

    def commit(self, topic: str | None, message: Callable[[int], Message | None] | None = None) -> int:
        """Add to the log; the hub has not heard of it yet."""
        seq = 3 * len(self.log.entries) + 10
        content = message(seq) if message else Deleted(seq, seq, topic)
        self.log.entries.append(Event(seq, topic, content))  # type: ignore[arg-type]
        return seq

    def hear(self, count: int = 1000) -> None:
        """Publish what the log has and the broadcaster has not."""
        for event in self.log.entries[self.heard :][:count]:
            self.broadcaster.publish(Event(event.seq, event.topic, event.message))
            self.heard += 1

    def publish(self, *topics: str) -> list[int]:
        """Commit and hear."""
        seqs = [self.commit(topic) for topic in topics]
        self.hear()
        return seqs

    def client(self, high_water: int = HIGH_WATER) -> tuple[FakeSink, Subscription]:
        sink = FakeSink()
        outgoing = Outgoing(cast(asyncio.Transport, sink), WEBSOCKET, high_water)
        return sink, Subscription(outgoing, line, self.broadcaster, self.log, self.tasks.create_task)  # type: ignore[arg-type]


@asynccontextmanager
async def world(**options: int) -> AsyncIterator[World]:
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        made = World(tasks, **options)
        yield made
        for subscriber in tuple(made.broadcaster.everyone):
            subscriber.close()  # type: ignore[attr-defined]


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something is so."""
    while not condition():
        await asyncio.sleep(0)


@pytest.fixture(scope="module")
def small_pages() -> Iterator[None]:
    """Pages of three, and no waiting: what takes thousands of events elsewhere happens with a few."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outgoing, "DRAIN_POLL", 0)
        patch.setattr(module, "backoff", lambda: iter(lambda: 0, 1))
        patch.setattr(Subscription, "PAGE", 3)
        patch.setattr(Ring, "PAGE", 3)
        yield


def note(seq: int) -> Note:
    moment = datetime(2022, 5, 3, tzinfo=UTC)
    return Note(seq, seq, "a", "gb", "hello", moment, moment)
