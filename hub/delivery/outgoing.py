"""The bytes on their way to one client.

Owns the client's transport, its file number, the queue of replies, the closed flag, and the state of its keep-alive.
Everybody else (session, stream, subscription, keep-alive) calls `Outgoing`, and touches no transport.

Who may write, and when:

1. Bytes go out in the order of the calls. What the kernel does not take waits in the transport, and everything later
   waits behind it.
2. `write` passes bytes on at once. `reply` collects them until the end of this turn of the event loop and writes them
   together; `flush` writes them now.
3. A `Fanout` may write to `file`, past the transport, but only while the transport holds no bytes. When any other write
   leaves bytes in the transport, `Outgoing` tells its fan-out, which then stops using the file.
4. When the connection is lost, the fan-out is told before the file is closed, because the operating system may give
   the same number to the next client at once.
5. `close` writes the last bytes, such as a close frame. After that nothing is written, whoever asks (RFC 6455 §5.5.1).
"""

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from hub.protocol.frames import PING_FRAME, close_frame

if TYPE_CHECKING:
    from hub.delivery.fanout import Fanout

CLOSE_TIMEOUT = 1.0  # seconds that a client has to answer our close frame
DRAIN_POLL = 0.02  # seconds between looks at a transport that holds bytes


class Framing(NamedTuple):
    """The control bytes of one kind of connection."""

    ping: bytes  # keeps an idle connection alive
    is_answered: bool  # whether a client answers the ping
    close: Callable[[int, str], bytes] | None  # makes the close frame of a code and a reason, where there is one


WEBSOCKET = Framing(PING_FRAME, True, close_frame)


class Outgoing(asyncio.Protocol):
    """The bytes on their way to one client; see the rules above.

    It stands in front of the transport's protocol: what is read goes to that protocol's own methods, and only the end
    of the connection passes through here. `high_water` is the number of unsent bytes above which a client is slow.
    """

    __slots__ = (
        "_descriptor",
        "_framing",
        "_protocol",
        "_replies",
        "_transport",
        "_written",
        "at",
        "closed",
        "connection_made",
        "data_received",
        "done",
        "eof_received",
        "fanout",
        "heard_at",
        "high_water",
        "pause_writing",
        "pinged_at",
        "progress",
        "progress_at",
        "resume_writing",
    )

    def __init__(self, transport: asyncio.Transport, framing: Framing, high_water: int) -> None:
        self.high_water = high_water
        self.closed = False  # the last bytes were written
        self.done = asyncio.Event()  # the connection has ended, or is somebody else's again
        self.fanout: Fanout | None = None  # set by the fan-out
        self.at = -1  # set by the fan-out: the index among those that it writes to directly
        # The keep-alive's.
        self.heard_at = self.progress_at = time.monotonic()
        self.pinged_at: float | None = None
        self.progress = 0  # bytes that the client had taken at `progress_at`
        self._framing = framing
        self._replies: list[bytes] = []
        self._written = 0
        self._transport = transport
        self._descriptor = _descriptor(transport)
        self._protocol = protocol = transport.get_protocol()
        # The very methods of the protocol behind: nothing becomes slower.
        for name in ("connection_made", "data_received", "eof_received", "pause_writing", "resume_writing"):
            setattr(self, name, getattr(protocol, name))
        transport.set_protocol(self)

    # Writing.

    def write(self, data: bytes) -> None:
        """Write now."""
        if self.take(data) and self.fanout is not None:
            self.fanout.hold(self)

    def reply(self, data: bytes) -> None:
        """Write together with the other replies of this turn of the event loop."""
        if not self._replies:
            asyncio.get_running_loop().call_soon(self.flush)
        self._replies.append(data)

    def flush(self) -> None:
        """Write the collected replies now."""
        replies, self._replies = self._replies, []
        if replies:
            self.write(b"".join(replies))

    def take(self, data: bytes) -> int:
        """Write now, and return how many bytes are unsent. For the fan-out, which looks at that itself."""
        transport = self._transport
        if self.closed or transport.is_closing():
            return 0
        self._written += len(data)
        transport.write(data)
        return transport.get_write_buffer_size()

    @property
    def file(self) -> int | None:
        """The file number to write to past the transport; None while that is not allowed (rules 3 to 5)."""
        transport = self._transport
        if self.closed or transport.is_closing() or transport.get_write_buffer_size():
            return None
        return self._descriptor

    # How far the client is.

    @property
    def gone(self) -> bool:
        """Whether the connection is closing or closed, by either side."""
        return self._transport.is_closing()

    @property
    def unsent(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return 0 if self._transport.is_closing() else self._transport.get_write_buffer_size()

    @property
    def accepted(self) -> int:
        """Bytes that the kernel has taken through the transport, ever. What a fan-out wrote directly does not count."""
        return self._written - self.unsent

    @property
    def is_slow(self) -> bool:
        """Whether more bytes are unsent than they should be."""
        return self.unsent > self.high_water

    async def drained(self, most: int) -> None:
        """Wait until at most so many bytes are unsent."""
        while self.unsent > most:
            await asyncio.sleep(DRAIN_POLL)

    # Keep-alive.

    def ping(self, now: float) -> None:
        """Ask for a sign of life. Where nobody answers, having taken all bytes counts as one."""
        if self._framing.is_answered:
            self.pinged_at = now
        else:
            self.heard_at = now
        self.write(self._framing.ping)

    def heard(self) -> None:
        """The client has sent something."""
        self.heard_at, self.pinged_at = time.monotonic(), None

    # The end.

    def close(self, code: int, reason: str) -> None:
        """Write what was collected and the close frame; hang up once the client has had time to answer.

        A connection without a close frame is done at once: its owner ends it.
        """
        if self.closed:
            return
        self.flush()
        if self._framing.close is None:
            self._stop()
            if self.unsent:
                self.abort()
            self.done.set()
            return
        self.write(self._framing.close(code, reason))
        self._stop()
        # The client is still read until it has closed, too: a connection that is closed with data unread is reset, and
        # the client would lose what it has not read yet (RFC 6455 §7.1.1).
        asyncio.get_running_loop().call_later(CLOSE_TIMEOUT, self._hang_up)

    async def end(self, code: int, reason: str) -> None:
        """Close, and wait until the connection has ended."""
        self.close(code, reason)
        await self.done.wait()

    def release(self) -> None:
        """Write the collected replies, and give the connection back to the protocol that was there before.

        After a close frame the transport is closed: a library for WebSockets would otherwise send another.
        """
        self.flush()
        if self.closed and self._framing.close is not None:
            self._transport.close()
        self._stop()
        if not self._transport.is_closing():
            self._transport.set_protocol(self._protocol)
        self.done.set()

    def abort(self) -> None:
        """Drop the connection and what is unsent."""
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop; asyncio's and uvloop's transports close their file only after this (rule 4)."""
        self._stop_fanout()
        self.done.set()
        self._protocol.connection_lost(exc)

    def _stop(self) -> None:
        self.closed = True
        self._stop_fanout()

    def _stop_fanout(self) -> None:
        if self.fanout is not None:
            self.fanout.hold(self)

    def _hang_up(self) -> None:
        if self.unsent:
            self.abort()
        else:
            self._transport.close()
        self.done.set()  # even if the session still waits for the database


def _descriptor(transport: asyncio.Transport) -> int | None:
    """The file number of a plain socket; None where only the transport can write (TLS)."""
    socket = transport.get_extra_info("socket")
    if socket is None or transport.get_extra_info("ssl_object"):
        return None
    return int(socket.fileno())
