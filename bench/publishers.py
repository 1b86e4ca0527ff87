"""Clients that publish and read their acks, cheap enough not to be what is measured.

Owns the publishing end of a connection: it follows nothing, so all that it gets are acks, in the
order of its notes. They are counted and the times between, not parsed: the id of the last one says
whether any is missing.
"""

import asyncio
import contextlib
import re
import time
from array import array
from collections import deque
from collections.abc import AsyncIterator

from bench.crowd import PING, PONG, WELCOME, request
from bench.parts import masked

ACK = b'"type":"ack"'
LAST_ID = re.compile(rb'.*"type":"ack","id":(\d+)', re.DOTALL)


class Publisher(asyncio.Protocol):
    """Sends notes ``NAME COUNT`` and keeps at most `window` of them unacknowledged; acks' times go to `delays`."""

    def __init__(self, name: str, delays: "array[float]") -> None:
        self.sent = self.acked = 0
        self.welcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.window = self.until = 0
        self.transport: asyncio.Transport
        self._name = name
        self._delays = delays
        self._due: deque[tuple[float, int]] = deque()  # when they were due, and how many
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.transport.write(request("/ws?topic="))

    def publish(self, due: float, count: int = 1) -> None:
        """Send the next notes, which should have been sent at `due` (``perf_counter``)."""
        name, first = self._name, self.sent
        self.sent += count
        self._due.append((due, count))
        notes = (b'{"username":"gb","body":"%b %d","id":%d}' % (name.encode(), n, n) for n in range(first, self.sent))
        self.transport.write(b"".join(map(masked, notes)))

    def publish_all(self, until: int, window: int) -> None:
        """Send as fast as acks come, until there are `until` in all; `done` says when all are acked."""
        self.until, self.window = until, window
        self.done = asyncio.get_running_loop().create_future()
        self.publish(time.perf_counter(), min(window, until - self.sent))

    def data_received(self, data: bytes) -> None:
        joined = self._tail + data
        # A cut message is looked at when its rest is there; a message ends in a brace, and no other brace is in an ack.
        end = joined.rfind(b"}") + 1
        whole, self._tail = joined[:end], joined[end:]
        if not self.welcome.done():
            if WELCOME in whole:
                self.welcome.set_result(None)
            return
        if PING in self._tail:
            self._tail = self._tail.replace(PING, b"")
            self.transport.write(PONG)
        count = whole.count(ACK)
        if count:
            self._take(whole, count)
        assert count == whole.count(b'"type"'), whole

    def _take(self, whole: bytes, count: int) -> None:
        self.acked += count
        last = LAST_ID.match(whole)
        assert last and int(last[1]) == self.acked - 1, "an ack is missing or out of order"
        now, left = time.perf_counter(), count
        while left:
            due, waiting = self._due.popleft()
            taken = min(left, waiting)
            self._delays.extend([now - due] * taken)
            left -= taken
            if taken < waiting:
                self._due.appendleft((due, waiting - taken))
        if self.acked == self.until:
            self.done.set_result(None)
        elif (more := min(self.window - (self.sent - self.acked), self.until - self.sent)) > 0:
            self.publish(now, more)

    def connection_lost(self, exc: Exception | None) -> None:
        for future in (self.welcome, self.done):
            if not future.done():
                future.set_exception(exc or ConnectionResetError("the hub closed the connection"))
                future.exception()  # seen, even if nobody waits for it


@contextlib.asynccontextmanager
async def publishers(address: str, count: int) -> AsyncIterator[tuple[list[Publisher], "array[float]"]]:
    """Connected publishers, and the seconds that each of their notes waited for its ack, in order of the acks."""
    host, port = address.removeprefix("http://").split(":")
    delays = array("d")
    found = list[Publisher]()
    try:
        for number in range(count):
            found.append(await _connect(host, int(port), f"p{number}", delays))
        yield found, delays
    finally:
        for each in found:
            each.transport.abort()


async def _connect(host: str, port: int, name: str, delays: "array[float]") -> Publisher:
    loop = asyncio.get_running_loop()
    _, publisher = await loop.create_connection(lambda: Publisher(name, delays), host, port)
    await publisher.welcome
    return publisher
