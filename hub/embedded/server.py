"""The server: one Postgres for each data folder, started, watched and ended by one of the processes that use it.

Owns the lock file, the server's settings and its log. Several processes may use one folder: the one that holds the lock
runs the server, the others use it, and one of them takes over when the owner dies. What must be true of the folder
before a start is `cluster`'s, and how a program is started is `programs`'s.
"""

import asyncio
import contextlib
import fcntl
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

from hub.embedded.cluster import Cluster
from hub.embedded.files import binary, make_private, readable, socket_dir
from hub.embedded.programs import stop
from hub.embedded.user import give, identity
from hub.errors import EmbeddedError

log = structlog.get_logger()

START_SECONDS = 30  # until the server must accept connections, crash recovery included
LOG_BYTES = 5_000_000  # a longer log is emptied at the next start
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
# Linux signals a child when its parent dies (prctl(2)). Elsewhere a shell waits for the end of a pipe whose other end
# only the parent holds, and then ends Postgres. The shell ignores the signals that `stop` sends to the process group;
# Postgres sets its own handlers for them.
GUARDED = sys.platform != "linux"
GUARDIAN = """trap '' INT QUIT; exec 3<&0
"$@" 3<&- </dev/null & postgres=$!
{ read -r _; while kill -INT $postgres; do sleep 1; done; } <&3 2>/dev/null & reader=$!
exec 3<&-; wait $postgres; code=$?; kill $reader; exit $code"""


def database_url(data_dir: Path) -> str:
    """The URL for asyncpg and libpq. It names the port, since PGPORT of the caller's shell would count otherwise."""
    return f"postgresql://postgres@/notes?host={quote(str(socket_dir(data_dir)))}&port={SETTINGS['port']}"


def is_running(data_dir: Path) -> bool:
    """Whether a server listens on the folder's socket; it may still be starting up or shutting down."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(socket_dir(data_dir) / f".s.PGSQL.{SETTINGS['port']}")) == 0


@contextlib.asynccontextmanager
async def running(data_dir: Path, *, fast: bool = False) -> AsyncIterator[str]:
    """Yield the URL once the server accepts connections, and keep the server running until the end of the block.

    `fast` gives up durability, for tests. On Linux call this in the main thread, since the server ends with the thread
    that started it. Raises EmbeddedError when the server cannot run.
    """
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
        self.ready = False  # until then a failure ends `running`; later it is logged and the server is started again

    def prepare(self) -> int:
        """Make the folders and open the lock file. No child inherits the file, so the lock ends with this process."""
        with readable(self.data_dir):
            self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            make_private(socket_dir(self.data_dir), {os.geteuid(), self.owner()})
            return os.open(self.data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)

    def owner(self) -> int:
        """The user to whom the files belong, by number."""
        return (self.pgdata if self.pgdata.exists() else self.data_dir).stat().st_uid

    async def wait_ready(self, keeper: asyncio.Task[None]) -> None:
        """Wait until the server accepts connections.

        Raises what ended `keeper`, or EmbeddedError after START_SECONDS.
        """
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
        """The reason why no connection can be made now, or None."""
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
        while not _locked(lock):  # polled, since a blocking flock would need a thread that nothing can end
            await asyncio.sleep(0.15)
        pause = BACKOFF_SECONDS[0]
        while True:
            started = time.monotonic()
            try:
                with readable(self.data_dir):
                    await self.serve()
            except Exception as error:
                # The children of the last server may still be ending, and have its shared memory in use.
                if not self.ready and "is still in use" not in str(error):
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
        """Run a server until it exits. It always ends with an exception."""
        await self.wait_for_previous()
        uid, self.become = identity(self.data_dir, self.owner())
        make_private(socket_dir(self.data_dir), {os.geteuid(), uid}, uid)
        if self.pgdata.exists() and any(self.pgdata.iterdir()):
            await self.check_version()
            give(self.pgdata, uid)
        else:
            await self.create(uid, *(["--no-sync"] if self.fast else []))
        command = self.command()
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

    def command(self) -> list[str]:
        """The command line of the server, with all its settings."""
        settings = SETTINGS | (FAST_SETTINGS if self.fast else {})
        settings |= {"unix_socket_directories": str(socket_dir(self.data_dir))}
        options = [f"--{name}={value}" for name, value in settings.items()]
        command = [str(binary("postgres")), "-D", str(self.pgdata), *options]
        return ["/bin/sh", "-c", GUARDIAN, "sh", *command] if GUARDED else command


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel the task and wait for its end, even when this is cancelled meanwhile.

    An error of the task is dropped here, since it was raised or logged before.
    """
    task.cancel()
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        await _end(task)
        raise
    finally:
        if task.done() and not task.cancelled():
            task.exception()
