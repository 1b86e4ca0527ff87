"""Whether the hub is well: for whoever restarts it, sends it clients, or draws its curves.

Owns ``/healthz``, ``/readyz`` and ``/metrics``. What is counted is `metrics`'s.
"""

import asyncio
from typing import Literal

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from hub import __version__
from hub.errors import Unavailable
from hub.feed.broadcaster import Broadcaster
from hub.server import metrics
from hub.server.routes import HUB, reply

COUNTS: web.AppKey[metrics.Counting] = web.AppKey("counts")

PATIENCE = 0.5  # seconds that a notification may take to come

routes = web.RouteTableDef()


class Health(msgspec.Struct):
    """The answer of ``/healthz`` and ``/readyz``; positions are seqs, the queue's usage is 0 to 1."""

    status: Literal["ok", "closing", "not_listening", "behind", "database_unavailable"]
    hub: str
    head: int
    connections: int
    log_head: int | None = None
    queue_usage: float | None = None


@routes.get("/healthz")
async def healthz(request: web.Request) -> web.Response:
    """Whether the process is alive; asks nobody else."""
    hub = request.app[HUB]
    return reply(Health("ok", __version__, hub.broadcaster.head, len(hub.connections)), Cache_Control="no-store")


@routes.get("/readyz")
async def readyz(request: web.Request) -> web.Response:
    """Whether clients are served well here: listening, and at the head of the log."""
    hub = request.app[HUB]
    health = Health("ok", __version__, hub.broadcaster.head, len(hub.connections))
    before = hub.broadcaster.head
    try:
        health.log_head = await hub.store.head()
        health.queue_usage = (await hub.store.health()).queue_usage
    except Unavailable:
        health.status = "database_unavailable"
    else:
        if hub.closing:
            health.status = "closing"
        elif not hub.listener.ready.is_set():
            health.status = "not_listening"
        elif not await _moves(hub.broadcaster, before, health.log_head):
            health.status = "behind"
        health.head = hub.broadcaster.head
    return reply(health, 200 if health.status == "ok" else 503, Cache_Control="no-store")


async def _moves(broadcaster: Broadcaster, before: int, head: int) -> bool:
    """Whether it is at the log's head, or soon nearer to it: a busy hub is always a little behind."""
    reached = asyncio.get_running_loop().create_future()
    broadcaster.reached(head, reached)
    await asyncio.wait([reached], timeout=PATIENCE)
    reached.cancel()
    return broadcaster.head > before or broadcaster.head >= head


@routes.get("/metrics")
async def get_metrics(request: web.Request) -> web.Response:
    """The counts of this hub, of all its workers, for Prometheus."""
    counts = await request.app[COUNTS]()
    return web.Response(body=metrics.page(counts), headers={"Content-Type": CONTENT_TYPE_LATEST})
