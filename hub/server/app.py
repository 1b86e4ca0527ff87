"""Puts the parts together and runs them.

The only place that knows all of them: who starts first, who stops last, and that a failure of one
ends the hub rather than leaving it half alive.
"""

import asyncio
import contextlib
import functools
import socket
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any

import structlog
from aiohttp import web

from hub.delivery import keepalive
from hub.delivery.fanout import Fanout
from hub.delivery.io_uring import Uring
from hub.feed.broadcaster import Broadcaster
from hub.feed.shared_reads import SharedReads
from hub.feed.writer import Writer
from hub.page.assets import Assets
from hub.postgres.listener import Listener
from hub.postgres.publisher import Publisher
from hub.postgres.store import Store
from hub.protocol import GOING_AWAY
from hub.server import cors, health, metrics, replies
from hub.server.context import CONTEXT, Context
from hub.server.routes import ROUTES
from hub.settings import Settings

log = structlog.get_logger()

BACKLOG = 4096  # connections that wait to be accepted: all clients of a hub may come back at once
MAX_BODY = 64 << 10  # bytes of a POSTed note, generous for 280 characters


@contextlib.asynccontextmanager
async def running(settings: Settings, url: str) -> AsyncIterator[Context]:
    """A hub on a database that has the schema. Raises NotListening when LISTEN does not work there."""
    loop = asyncio.get_running_loop()
    store = Store(url, settings.pool_size)
    reserved = Store(url, 1)
    await store.open()
    await reserved.open()
    uring = _uring(settings)
    broadcaster = Broadcaster(loop.call_soon, loop.call_later, settings.ring_bytes, new_fanout=lambda: Fanout(uring))
    listener = Listener(url, reserved, broadcaster, settings.check_interval, store.abandon)
    publisher = Publisher(store)
    writer = Writer(publisher, settings.max_batch)
    try:
        async with asyncio.TaskGroup() as tasks:
            owned: set[asyncio.Task[None]] = set()

            def spawn(work: Coroutine[Any, Any, None]) -> None:
                task = tasks.create_task(work)
                owned.add(task)
                task.add_done_callback(owned.discard)

            context = Context(
                settings, store, reserved, broadcaster, listener, writer, SharedReads(store, spawn), spawn
            )
            spawn(_part("listener", listener.run()))
            spawn(_part("writer", writer.run()))
            spawn(_part("watch", keepalive.watch(lambda: context.connections, settings)))
            yield context
            context.closing = True
            await writer.close()
            for task in owned:
                task.cancel()
    finally:
        await publisher.close()
        await store.close()
        await reserved.close()
        if uring:
            uring.close()


def _uring(settings: Settings) -> Uring | None:
    try:
        return Uring() if settings.io_uring else None
    except OSError as error:
        log.info("no_io_uring", reason=str(error), instead="a system call for each client")
        return None


async def _part(name: str, work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except Exception:
        log.error("part_failed", part=name, exc_info=True)
        raise


def application(context: Context, counting: metrics.Counting) -> web.Application:
    """The HTTP application over a running hub; `counting` gives what ``/metrics`` shows."""
    allowed = context.settings.origins
    app = web.Application(middlewares=[cors.middleware(allowed), replies.errors], client_max_size=MAX_BODY)
    app[CONTEXT] = context
    app[health.COUNTS] = counting
    app[health.PROBE] = asyncio.Lock()
    app[replies.ASSETS] = assets = Assets()
    app.add_routes([*ROUTES, *assets.routes()])
    app.on_response_prepare.append(cors.headers(allowed))
    app.on_shutdown.append(farewell)
    return app


async def farewell(app: web.Application) -> None:
    """Finish what clients have sent, refuse what they send now, and tell them to go elsewhere."""
    context = app[CONTEXT]
    context.closing = True
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(context.settings.shutdown_timeout):
            await context.writer.close()
    await asyncio.gather(*(each.end(GOING_AWAY, "the hub is stopping") for each in tuple(context.connections)))


@contextlib.asynccontextmanager
async def serving(
    settings: Settings,
    url: str,
    sockets: Sequence[socket.socket] = (),
    sharing: metrics.Sharing = metrics.alone,
) -> AsyncIterator[tuple[Context, str]]:
    """A hub on the database at `url` that answers HTTP: the hub and its address.

    It serves on `sockets`, which listen already, or else on the settings' host and port. `sharing` makes the function
    that counts for ``/metrics``. Raises OSError when the port is taken.
    """
    async with running(settings, url) as context, sharing(functools.partial(metrics.counts, context)) as counting:
        runner = web.AppRunner(
            application(context, counting),
            access_log=None,
            shutdown_timeout=settings.shutdown_timeout,
            handle_signals=False,
        )
        await runner.setup()
        try:
            sites: list[web.BaseSite] = [web.SockSite(runner, each, backlog=BACKLOG) for each in sockets]
            if not sites:
                sites = [web.TCPSite(runner, settings.host, settings.port, backlog=BACKLOG)]
            for site in sites:
                await site.start()
            yield context, address_of(*runner.addresses[0][:2])
        finally:
            await runner.cleanup()


def address_of(host: str, port: int) -> str:
    """The URL of a hub that listens on this host and port."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
