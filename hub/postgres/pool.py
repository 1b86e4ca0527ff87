"""Connections to Postgres, and what goes wrong with them.

Owns the pool and its errors: whatever breaks on the way leaves here as Unavailable, whatever Postgres
itself refuses as Refused. It knows no table.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from typing import Any
from weakref import WeakSet

import asyncpg

from hub.errors import DatabaseError, Refused, Unavailable

TIMEOUT = 10.0  # seconds for one statement of a client's request
IDLE = 300.0  # seconds without use after which a connection is not trusted any more: firewalls forget it
SERVER_SETTINGS = {
    "application_name": "notes-hub",
    "search_path": "public",
    "default_transaction_isolation": "read committed",
}


# asyncpg raises InternalClientError, which is neither of its two public bases, on a connection that dies.
CONNECTION_ERRORS = (
    OSError,
    asyncio.TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.CannotConnectNowError,
)


async def connect(
    url: str, name: str = "notes-hub", timeout: float = TIMEOUT, command_timeout: float | None = None
) -> asyncpg.Connection:
    """One connection outside of the pool, set up as those in it; pg_stat_activity shows it by its name."""
    settings = SERVER_SETTINGS | {"application_name": name}
    return await asyncpg.connect(url, timeout=timeout, command_timeout=command_timeout, server_settings=settings)


async def _as_it_is(_: asyncpg.Connection) -> None:
    """Instead of asyncpg's reset, a round trip after each statement: ours leave nothing behind in a session."""


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except CONNECTION_ERRORS as error:
        raise Unavailable(str(error) or type(error).__name__) from error
    except asyncpg.PostgresError as error:
        raise Refused(str(error).partition("\n")[0]) from error  # its detail shows the row, its own or another's


@contextlib.contextmanager
def hub_errors() -> Iterator[None]:
    """Raise what asyncpg raises in the block as an error of `hub.errors`, with the same message.

    Raises Unavailable where the connection or the server fails, and DatabaseError where Postgres refuses a statement or
    a user. OSError and TimeoutError pass as they are: they need not come from Postgres.
    """
    try:
        yield
    except OSError:
        raise
    except CONNECTION_ERRORS as error:
        raise Unavailable(str(error) or type(error).__name__) from error
    except asyncpg.PostgresError as error:
        raise DatabaseError(str(error) or type(error).__name__) from error


class Database:
    """Connections for statements that each stand alone: a pool of at most `size`, and one that is kept."""

    def __init__(self, url: str, size: int) -> None:
        self._url = url
        self._connections: WeakSet[asyncpg.Connection] = WeakSet()
        self._kept: asyncpg.Connection | None = None
        self._used = 0.0  # when the kept one was last used
        self._pool = asyncpg.create_pool(
            url,
            min_size=0,
            max_size=size,
            connect=self._connect,
            reset=_as_it_is,
            max_inactive_connection_lifetime=IDLE,
        )

    async def open(self) -> None:
        """Make the pool ready; connects only when it is used."""
        await self._pool

    async def close(self) -> None:
        """Give back the connections, by force if they do not answer."""
        try:
            async with asyncio.timeout(3):
                if self._kept is not None:
                    await self._kept.close()
                await self._pool.close()
        except (TimeoutError, *CONNECTION_ERRORS):
            self.abandon()
            self._pool.terminate()

    async def _connect(self, *_: Any, **__: Any) -> asyncpg.Connection:
        try:
            connection = await connect(self._url, command_timeout=TIMEOUT)
        except asyncpg.PostgresError as error:  # one that is being restored may be missing or closed
            raise Unavailable(str(error)) from error
        self._connections.add(connection)
        return connection

    def abandon(self) -> None:
        """Take all connections for dead, as in a black hole: what waits on them fails now, and new ones are made."""
        for connection in tuple(self._connections):
            connection.terminate()
        self._connections.clear()

    async def fetch(self, sql: str, *args: object) -> Any:
        """The rows of a statement. Raises Unavailable or Refused."""
        with _told():
            async with self._pool.acquire() as connection:
                return await connection.fetch(sql, *args)

    async def fetch_next(self, sql: str, *args: object) -> Any:
        """The same over the kept connection, for one caller whose statements follow each other closely.

        The pool would let a few turns of the event loop go by between them, each as long as the
        hub's other work makes it. Raises Unavailable or Refused.
        """
        now = time.monotonic()
        if self._kept is not None and now - self._used > IDLE:
            self._kept.terminate()
        self._used = now
        with _told():
            if self._kept is None or self._kept.is_closed():
                self._kept = await self._connect()
            try:
                return await self._kept.fetch(sql, *args)
            except CONNECTION_ERRORS:
                self._kept.terminate()
                raise
