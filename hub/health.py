"""Whether the hub is well: for whoever restarts it, sends it clients, or draws its curves.

Owns ``/healthz``, ``/readyz`` and ``/metrics``. What is counted is `metrics`'s.
"""

from typing import Literal

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from hub import __version__, metrics
from hub.database import Unavailable
from hub.routes import HUB, reply

COUNTS: web.AppKey[metrics.Counting] = web.AppKey("counts")

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
        # Behind the log and not moving: a busy hub is always a little behind.
        if hub.closing:
            health.status = "closing"
        elif not hub.listener.ready.is_set():
            health.status = "not_listening"
        elif health.log_head > hub.broadcaster.head == before:
            health.status = "behind"
    return reply(health, 200 if health.status == "ok" else 503, Cache_Control="no-store")


@routes.get("/metrics")
async def get_metrics(request: web.Request) -> web.Response:
    """The counts of this hub, of all its workers, for Prometheus."""
    counts = await request.app[COUNTS]()
    return web.Response(body=metrics.page(counts), headers={"Content-Type": CONTENT_TYPE_LATEST})
