"""How clients are written to: the three ways, and which of them this process has.

Owns their names, and the proof that the event loop writes at once. One that keeps what is written until the end of its
turn leaves every client with unsent bytes, so that a fan-out never uses a file, and nothing says so.
"""

import asyncio
import contextlib
import socket
from typing import Final, Literal

from hub.delivery.outgoing import Outgoing

Way = Literal["io_uring", "direct", "transport"]

# From the fastest on: one system call for many clients, one for each, the event loop's own way.
WAYS: Final[tuple[Way, ...]] = ("io_uring", "direct", "transport")


def way_of(outgoing: Outgoing) -> Way:
    """How the next event would be written to a client; one that is not live or holds unsent bytes has its transport."""
    if outgoing.fanout is None or outgoing.at < 0:
        return "transport"
    return "io_uring" if outgoing.fanout.in_one_call else "direct"


async def writes_at_once() -> bool:
    """Whether the running event loop passes bytes on to the kernel while they are written."""
    ours, theirs = socket.socketpair()
    with theirs:
        ours.setblocking(False)
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
        with contextlib.closing(transport):
            transport.write(b"x")
            return transport.get_write_buffer_size() == 0
