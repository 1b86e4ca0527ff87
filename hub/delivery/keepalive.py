"""Keep-alive: is anybody still at the other end?

Owns the rules by which silent clients are pinged, streams get a heartbeat, and dead or stalled clients are closed. One
task looks at all connections.
"""

import asyncio
import time
from collections.abc import Callable, Iterable

import structlog

from hub.delivery.outgoing import Outgoing
from hub.protocol.codes import GOING_AWAY, STALLED
from hub.settings import Settings

log = structlog.get_logger()


async def watch(connections: Callable[[], Iterable[Outgoing]], settings: Settings) -> None:
    """Look at every connection a few times within each time limit, for ever."""
    tick = min(settings.ping_interval, settings.pong_timeout, settings.stall_timeout) / 4
    while True:
        await asyncio.sleep(tick)
        now = time.monotonic()
        for connection in tuple(connections()):
            look_at(connection, now, settings)


def look_at(outgoing: Outgoing, now: float, settings: Settings) -> None:
    """Do what is due for one connection; `now` and all limits are in seconds.

    A client with unsent bytes is judged by whether it takes any. Only a client that has taken everything is asked for
    a sign of life.
    """
    if outgoing.closed:
        return
    if outgoing.gone:
        outgoing.close(GOING_AWAY, "the client left")
        return
    accepted, unsent = outgoing.accepted, outgoing.unsent
    if accepted != outgoing.progress:
        outgoing.progress, outgoing.progress_at = accepted, now
    if unsent:
        outgoing.pinged_at = None
        if now - outgoing.progress_at > settings.stall_timeout:
            log.info("client_stalled", unsent=unsent)
            outgoing.close(STALLED, "no data was taken for too long")
        return
    outgoing.progress_at = now
    if outgoing.pinged_at is not None:
        if now - outgoing.pinged_at > settings.pong_timeout:
            log.info("client_silent")
            outgoing.abort()
    elif now - outgoing.heard_at >= settings.ping_interval:
        outgoing.ping(now)
