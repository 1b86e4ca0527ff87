"""The bytes' way to a client, and whether anybody is still at its other end.

Owns the write buffer's figures and the watch that pings the silent, gives streams a heartbeat, and
closes the dead and the stalled. One task watches all connections; what they say is not its business.
"""

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import structlog

from hub.protocol import GOING_AWAY, STALLED
from hub.settings import Settings

log = structlog.get_logger()


class Connection:
    """The bytes' way to a client, and what tells whether it still takes them. It is a subscription's sink."""

    def __init__(self, transport: asyncio.Transport, keep_alive: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.keep_alive = keep_alive  # pings the client, or writes a heartbeat
        self.heard_at = self.progress_at = time.monotonic()
        self.pinged_at: float | None = None
        self.given_up = False  # it was told to end
        self.sent = self._written = 0
        self.on_unsent: Callable[[], None] = _nothing  # called when a write has left something unsent
        self.on_lost: Callable[[], None] = _nothing  # called before the file that `direct` gave is closed
        self._transport = transport
        self._descriptor = _descriptor(transport)
        if self._descriptor is not None:
            transport.set_protocol(Gate(transport.get_protocol(), self._lost))

    def direct(self) -> int | None:
        """The file to write to past the transport, while it holds nothing that must come first."""
        if self._transport.is_closing() or self._transport.get_write_buffer_size():
            return None
        return self._descriptor

    def write(self, data: bytes) -> int:
        """Take bytes at once, and tell how many are unsent now; a transport that is closing drops them."""
        if self._transport.is_closing():
            return 0
        self._written += len(data)
        self._transport.write(data)
        unsent = self._transport.get_write_buffer_size()
        if unsent:
            self.on_unsent()
        return unsent

    def _lost(self) -> None:
        self.on_lost()

    def gone(self) -> bool:
        """Whether the client has closed its connection."""
        return self._transport.is_closing()

    def buffered(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return 0 if self._transport.is_closing() else self._transport.get_write_buffer_size()

    def accepted(self) -> int:
        """Bytes that the kernel has taken of those that went through the transport, ever."""
        return self._written - self.buffered()

    async def end(self, code: int, reason: str) -> None:
        """Close with a code, where the kind of connection has one."""
        self._transport.close()

    def abort(self) -> None:
        """Drop the connection and what it has not sent."""
        self._transport.abort()


class Gate(asyncio.Protocol):
    """A transport's protocol, as it was, but for one word before the connection is lost.

    Both asyncio's and uvloop's transports close their file only after `connection_lost` has returned.
    """

    def __init__(self, protocol: asyncio.BaseProtocol, on_lost: Callable[[], None]) -> None:
        for name in ("data_received", "eof_received", "pause_writing", "resume_writing", "connection_made"):
            setattr(self, name, getattr(protocol, name))  # the very methods: nothing becomes slower
        self._protocol, self._on_lost = protocol, on_lost

    def connection_lost(self, exc: Exception | None) -> None:
        """Say so first."""
        self._on_lost()
        self._protocol.connection_lost(exc)


def _nothing() -> None:
    """Nobody asked to be told."""


def _descriptor(transport: asyncio.Transport) -> int | None:
    """The file that bytes may be written to past the transport; None where only it knows how (TLS, Windows)."""
    socket = transport.get_extra_info("socket")
    if os.name != "posix" or socket is None or transport.get_extra_info("ssl_object"):
        return None
    return int(socket.fileno())


async def watch(connections: Callable[[], Iterable[Connection]], settings: Settings) -> None:
    """Look at every connection a few times per time limit, for ever."""
    tick = min(settings.ping_interval, settings.pong_timeout, settings.stall_timeout) / 4
    async with asyncio.TaskGroup() as tasks:
        while True:
            await asyncio.sleep(tick)
            now = time.monotonic()
            for connection in tuple(connections()):
                if action := look_at(connection, now, settings):
                    tasks.create_task(action)


def look_at(connection: Connection, now: float, settings: Settings) -> Coroutine[Any, Any, None] | None:
    """What is due for one connection, if anything.

    One that still has data to take is judged by whether it takes any; only one that has taken
    everything is asked for a sign of life.
    """
    if connection.given_up:
        return None
    if connection.gone():
        connection.given_up = True
        return connection.end(GOING_AWAY, "the client left")
    accepted, buffered = connection.accepted(), connection.buffered()
    if accepted != connection.sent:
        connection.sent, connection.progress_at = accepted, now
    if buffered:
        connection.pinged_at = None
        if now - connection.progress_at > settings.stall_timeout:
            log.info("client_stalled", unsent=buffered)
            connection.given_up = True
            return connection.end(STALLED, "no data was taken for too long")
        return None
    connection.progress_at = now
    if connection.pinged_at is not None:
        if now - connection.pinged_at <= settings.pong_timeout:
            return None
        log.info("client_silent")
        connection.abort()
        return None
    if now - connection.heard_at < settings.ping_interval:
        return None
    return _ping(connection, now)


async def _ping(connection: Connection, now: float) -> None:
    connection.pinged_at = now
    try:
        await connection.keep_alive()
    except ConnectionError:
        connection.abort()
