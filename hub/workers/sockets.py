"""The listening sockets of a hub: of one process, or of several workers that share one port.

Owns how the sockets are made; never accepts a connection. On Linux each worker has a socket of its own with
SO_REUSEPORT (socket(7)), and the kernel spreads connections evenly between them; it would give most connections on one
shared socket to one worker. Elsewhere the workers share one socket. The supervisor keeps all sockets open while workers
come and go, so that the port never refuses.
"""

import asyncio
import contextlib
import errno
import socket
import sys
from collections.abc import AsyncIterator

from hub.errors import HubError
from hub.settings import Settings

SPREADS = sys.platform == "linux"  # whether the kernel spreads connections over the sockets of one port


@contextlib.asynccontextmanager
async def bound(settings: Settings) -> AsyncIterator[list[list[socket.socket]]]:
    """The sockets of each worker, one for each address of the host, for the time of a block.

    They have the port and do not listen yet: a client is refused rather than kept waiting for a hub that cannot serve.
    Raises HubError when the port is taken, and OSError when the host is unknown.
    """
    found = await asyncio.get_running_loop().getaddrinfo(
        settings.host or None, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sockets_by_worker: list[list[socket.socket]] = [[] for _ in range(settings.workers if SPREADS else 1)]
    port = settings.port
    with contextlib.ExitStack() as opened:
        for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
            for number, sockets in enumerate(sockets_by_worker):
                try:
                    sockets.append(opened.enter_context(socket.socket(family)))
                except OSError as error:
                    if error.errno != errno.EAFNOSUPPORT or len(found) == 1:
                        raise
                    break  # a system without IPv6 may still know IPv6 addresses
                _bind(sockets[-1], (address[0], port, *address[2:]), first=number == 0)
                port = sockets[-1].getsockname()[1]  # where 0 was asked for, all share the port that the first one got
        yield sockets_by_worker if SPREADS else sockets_by_worker * settings.workers


def _bind(listening: socket.socket, address: tuple[object, ...], first: bool) -> None:
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if listening.family == socket.AF_INET6:
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        # The first socket is bound without SO_REUSEPORT. With it, a second hub of the same user could take a share of
        # the port unnoticed; without it, bind fails when the port is taken.
        if not first:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.bind(address)
        if SPREADS:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError as error:
        hint = "; choose another one with --port" if error.errno == errno.EADDRINUSE else ""
        reason = f"cannot listen on {address[0]} port {address[1]}: {error.strerror}{hint}"
        raise HubError(reason) from error
