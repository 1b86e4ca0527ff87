"""Puts the parts together and runs them.

The only place that knows all of them: who starts first, who stops last, and that a failure of one
ends the hub rather than leaving it half alive.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import structlog
from aiohttp import web

from hub.backoff import backoff
from hub.delivery import keepalive
from hub.delivery.fanout import Fanout
from hub.delivery.io_uring import Uring
from hub.embedded import server as embedded
from hub.feed.broadcaster import Broadcaster
from hub.feed.shared_reads import SharedReads
from hub.feed.writer import Writer
from hub.page.assets import Assets
from hub.postgres import migrations
from hub.postgres.listener import Listener
from hub.postgres.pool import CONNECTION_ERRORS, connect
from hub.postgres.publisher import Publisher
from hub.postgres.store import Store
from hub.protocol import GOING_AWAY
from hub.server import cors as origins
from hub.server import health, metrics, replies
from hub.server.context import CONTEXT, Context
from hub.server.routes import ROUTES
from hub.settings import Settings
from hub.workers import stats as siblings
from hub.workers.sockets import BACKLOG

log = structlog.get_logger()

MAX_BODY = 64 << 10  # bytes of a POSTed note, generous for 280 characters
NOT_MENDED_BY_WAITING = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError)


@contextlib.asynccontextmanager
async def database(settings: Settings) -> AsyncIterator[str]:
    """The URL of the database to use: the one that is given, or that of an embedded Postgres, running meanwhile."""
    if settings.database_url:
        yield settings.database_url
    else:
        async with embedded.running(settings.data_path) as url:
            yield url


async def migrate(url: str) -> list[int]:
    """Bring the schema up to date, waiting for as long as Postgres does not answer yet.

    Raises asyncpg.PostgresError for what waiting does not mend, MigrationError for a file that failed.
    """
    for delay in backoff():
        try:
            database = await connect(url)
            try:
                return await migrations.migrate(database)
            finally:
                database.terminate()
        except NOT_MENDED_BY_WAITING:
            raise
        except CONNECTION_ERRORS as error:
            log.warning("waiting_for_database", reason=str(error) or type(error).__name__)
            await asyncio.sleep(delay)
    raise AssertionError("backoff never ends")


@contextlib.asynccontextmanager
async def running(settings: Settings, url: str) -> AsyncIterator[Context]:
    """A hub on a database that has the schema. Raises NotListening when LISTEN does not work there."""
    loop = asyncio.get_running_loop()
    store = Store(url, settings.pool_size)
    await store.open()
    uring = _uring(settings)
    broadcaster = Broadcaster(loop.call_soon, loop.call_later, settings.ring_bytes, new_fanout=lambda: Fanout(uring))
    listener = Listener(url, store, broadcaster, settings.check_interval)
    publisher = Publisher(store)
    writer = Writer(publisher, settings.max_batch)
    try:
        async with asyncio.TaskGroup() as tasks:
            owned: set[asyncio.Task[None]] = set()

            def spawn(work: Coroutine[Any, Any, None]) -> None:
                task = tasks.create_task(work)
                owned.add(task)
                task.add_done_callback(owned.discard)

            context = Context(settings, store, broadcaster, listener, writer, SharedReads(store, spawn), spawn)
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


@dataclass
class Place:
    """Where one of several workers serves: on sockets that listen already, with a folder shared with its siblings."""

    sockets: list[socket.socket]
    folder: Path
    name: str


def application(context: Context, place: Place | None = None) -> web.Application:
    """The HTTP application over a running hub."""

    async def counts() -> dict[str, metrics.Counts]:
        own = {place.name if place else "": metrics.counts(context)}
        return (await siblings.ask(place.folder) if place else {}) | own

    allowed = context.settings.origins
    app = web.Application(middlewares=[origins.middleware(allowed), replies.errors], client_max_size=MAX_BODY)
    app[CONTEXT] = context
    app[health.COUNTS] = counts
    app[replies.ASSETS] = assets = Assets()
    app.add_routes([*ROUTES, *assets.routes()])
    app.on_response_prepare.append(origins.headers(allowed))
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
async def serving(settings: Settings, url: str, place: Place | None = None) -> AsyncIterator[tuple[Context, str]]:
    """A hub that answers on its port, or at its place: the hub and its address. Raises OSError for a port in use."""
    async with running(settings, url) as context, contextlib.AsyncExitStack() as stack:
        if place:
            await stack.enter_async_context(
                siblings.telling(place.folder, place.name, partial(metrics.counts, context))
            )
        runner = web.AppRunner(
            application(context, place),
            access_log=None,
            shutdown_timeout=settings.shutdown_timeout,
            handle_signals=False,
        )
        await runner.setup()
        try:
            sites: list[web.BaseSite] = (
                [web.SockSite(runner, each, backlog=BACKLOG) for each in place.sockets]
                if place
                else [web.TCPSite(runner, settings.host, settings.port, backlog=BACKLOG)]
            )
            for site in sites:
                await site.start()
            yield context, address_of(*runner.addresses[0][:2])
        finally:
            await runner.cleanup()


def address_of(host: str, port: int) -> str:
    """The URL of what listens there."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
