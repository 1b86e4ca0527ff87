"""The listening sockets of several workers that share one port.

Owns how they are made. On Linux each worker has its own, with SO_REUSEPORT (socket(7)), between which
the kernel spreads connections evenly; one that several share would give most of them to one worker.
Elsewhere they share one. Whoever makes them keeps them open while workers come and go, so that the port
never refuses.
"""

import asyncio
import contextlib
import socket
import sys

from hub.settings import Settings

BACKLOG = 4096  # connections that wait to be accepted: all clients of a hub may come back at once
SPREADS = sys.platform == "linux"


async def listen(settings: Settings) -> list[list[socket.socket]]:
    """For each worker the sockets on which it serves, listening already. Raises OSError when the port is taken."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(
        settings.host or None, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    places: list[list[socket.socket]] = [[] for _ in range(settings.workers)]
    port = settings.port
    with contextlib.ExitStack() as opened:
        for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
            for place in places if SPREADS else places[:1]:
                place.append(opened.enter_context(socket.socket(family)))
                _bind(place[-1], (address[0], port, *address[2:]), first=place is places[0])
                port = place[-1].getsockname()[1]
        for place in places:
            for each in place:
                each.listen(BACKLOG)
        opened.pop_all()
    return places if SPREADS else [places[0]] * settings.workers


def _bind(listening: socket.socket, address: tuple[object, ...], first: bool) -> None:
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if listening.family == socket.AF_INET6:
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        # The first is bound without sharing: else a second hub of the same user would share the port too, unnoticed.
        if not first:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.bind(address)
        if SPREADS:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError as error:
        raise OSError(error.errno, f"cannot listen on {address[0]} port {address[1]}: {error.strerror}") from error
