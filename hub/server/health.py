"""Whether the hub is well, for supervisors, load balancers and Prometheus.

Owns ``/healthz``, ``/readyz`` and ``/metrics``. What is counted is the business of `metrics`.
"""

import asyncio
from typing import Literal

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from hub import __version__
from hub.errors import CommandError
from hub.feed.broadcaster import Broadcaster
from hub.server import metrics
from hub.server.context import CONTEXT
from hub.server.replies import reply

PROBE: web.AppKey[asyncio.Lock] = web.AppKey("probe")  # whoever asks the database for its state has it
COUNTS: web.AppKey[metrics.Counting] = web.AppKey("counts")

PATIENCE = 0.4  # seconds that a notification may take to come
ANSWER = 0.5  # seconds that the database has for its answer


class Health(msgspec.Struct):
    """The answer of ``/healthz`` and ``/readyz``; positions are seqs, the queue's usage is 0 to 1."""

    status: Literal["ok", "closing", "not_listening", "behind", "read_only", "database_unavailable"]
    hub: str
    head: int
    connections: int
    log_head: int | None = None
    queue_usage: float | None = None


async def healthz(request: web.Request) -> web.Response:
    """Whether the process is alive. Asks nobody else."""
    context = request.app[CONTEXT]
    return reply(
        Health("ok", __version__, context.broadcaster.head, len(context.connections)), Cache_Control="no-store"
    )


async def readyz(request: web.Request) -> web.Response:
    """Whether clients are served well here: listening, at the log's head, able to publish. Answers within a second."""
    context = request.app[CONTEXT]
    health = Health("ok", __version__, context.broadcaster.head, len(context.connections))
    before = context.broadcaster.head
    try:
        async with asyncio.timeout(ANSWER), request.app[PROBE]:
            state = await context.reserved.state()
    except (CommandError, TimeoutError):
        health.status = "database_unavailable"
    else:
        health.log_head, health.queue_usage = state.head, state.queue_usage
        if context.closing:
            health.status = "closing"
        elif not context.listener.ready.is_set():
            health.status = "not_listening"
        elif not await _moves(context.broadcaster, before, state.head):
            health.status = "behind"
        elif state.read_only:
            health.status = "read_only"
        health.head = context.broadcaster.head
    return reply(health, 200 if health.status == "ok" else 503, Cache_Control="no-store")


async def _moves(broadcaster: Broadcaster, before: int, head: int) -> bool:
    """Whether it is at the log's head, or soon nearer to it: a busy hub is always a little behind."""
    reached = asyncio.get_running_loop().create_future()
    broadcaster.reached(head, reached)
    await asyncio.wait([reached], timeout=PATIENCE)
    reached.cancel()
    return broadcaster.head > before or broadcaster.head >= head


async def get_metrics(request: web.Request) -> web.Response:
    """The counts of this hub, of all its workers, for Prometheus."""
    counts = await request.app[COUNTS]()
    return web.Response(body=metrics.page(counts), headers={"Content-Type": CONTENT_TYPE_LATEST})
