"""Connections to Postgres, and what goes wrong with them.

Owns how connections are set up, the pool, and the translation of errors: a connection that breaks becomes Unavailable,
and what Postgres reports becomes what `sqlstate` says. It knows no table.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any
from weakref import WeakSet

import asyncpg

from hub.errors import DatabaseError, NotListening, SettingsError, Unavailable
from hub.postgres import sqlstate
from hub.postgres.address import address

TIMEOUT = 10.0  # seconds for one statement of a client's request
MAX_WAITING = 1000  # statements that wait for a connection of a pool; the next one is refused
IDLE = 300.0  # seconds without use after which a connection is closed: firewalls drop idle ones without a word
# Set once connected, since pgbouncer refuses connections that begin with settings it does not know. It knows
# application_name.
SESSION = "set search_path = public; set default_transaction_isolation = 'read committed'"

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
# What other clients' statements do to ours where a pooler gives each transaction another connection.
MIXED_UP = (asyncpg.DuplicatePreparedStatementError, asyncpg.InvalidSQLStatementNameError)
DIRECTLY = "Give the hub a direct connection to Postgres, or a pooler in session mode."
MIX_UP = "Statements get lost on this database URL, as behind a pooler in transaction mode. " + DIRECTLY


async def connect(
    url: str, name: str = "notes-hub", timeout: float = TIMEOUT, command_timeout: float | None = None
) -> asyncpg.Connection:
    """One connection outside the pool; pg_stat_activity shows it as `name`. Both time limits are in seconds.

    Raises SettingsError for a malformed URL, Unavailable where nobody answers, and DatabaseError where Postgres refuses
    the user or the database. Each message says which database was meant, and where.
    """
    where = address(url)
    try:
        connection = await asyncpg.connect(
            url, timeout=timeout, command_timeout=command_timeout, server_settings={"application_name": name}
        )
        try:
            await connection.execute(SESSION, timeout=timeout)
        except BaseException:
            connection.terminate()
            raise
    except ValueError as error:  # asyncpg's for a parameter of the URL, such as sslmode
        raise SettingsError(f"The database URL of {where} has a wrong value: {error}") from error
    except asyncpg.PostgresError as error:
        found = sqlstate.trouble(sqlstate.state_of(error))
        kind = Unavailable if found and found.passes else DatabaseError
        reason = str(error).partition("\n")[0]
        raise kind(f"Cannot connect to {where}: {reason}.{_advice(error)}") from error
    except CONNECTION_ERRORS as error:
        raise Unavailable(f"Cannot connect to {where}: {_reason(error, timeout)}") from error
    return connection


def _reason(error: BaseException, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout:.0f} s."
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}. Check its host and port, and that Postgres runs there."
    return str(error) or type(error).__name__


def _advice(error: asyncpg.PostgresError) -> str:
    """What a person can do about a connection that Postgres refuses."""
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        return " Make it with createdb, or correct the name in DATABASE_URL."
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        return " Correct the user or the password in DATABASE_URL."
    return ""


async def _as_it_is(_: asyncpg.Connection) -> None:
    """Replaces asyncpg's reset, which costs a round trip: our statements leave nothing behind in a session."""


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Turn errors of asyncpg and of the connection into Unavailable and Refused."""
    try:
        yield
    except asyncpg.PostgresError as error:
        raise sqlstate.error_of(sqlstate.state_of(error), str(error)) from error
    except CONNECTION_ERRORS as error:
        raise Unavailable(str(error) or type(error).__name__) from error


@contextlib.contextmanager
def hub_errors() -> Iterator[None]:
    """Raise what asyncpg raises in the block as an error of `hub.errors`, with the same message.

    Raises Unavailable for what passes by itself, as `sqlstate` says, NotListening where a pooler mixes statements up,
    and DatabaseError where Postgres refuses a statement or a user, or somebody has to mend something. OSError and
    TimeoutError pass as they are: they need not come from Postgres.
    """
    try:
        yield
    except OSError:
        raise
    except MIXED_UP as error:
        raise NotListening(MIX_UP) from error
    except asyncpg.PostgresError as error:
        found = sqlstate.trouble(sqlstate.state_of(error))
        kind = Unavailable if found and found.passes else DatabaseError
        raise kind(str(error) or type(error).__name__) from error
    except CONNECTION_ERRORS as error:
        raise Unavailable(str(error) or type(error).__name__) from error


class Pool:
    """At most `size` connections, for statements that each stand alone."""

    def __init__(self, url: str, size: int) -> None:
        self.address = address(url)  # for people
        self._url = url
        self._connections: WeakSet[asyncpg.Connection] = WeakSet()
        self._waiting = 0  # statements that wait for a connection
        self._pool = asyncpg.create_pool(
            url,
            min_size=0,
            max_size=size,
            connect=self._connect,
            reset=_as_it_is,
            max_inactive_connection_lifetime=IDLE,
        )

    async def open(self) -> None:
        """Make the pool ready. It connects when it is used."""
        await self._pool

    async def close(self) -> None:
        """Close all connections, by force if they do not answer within 3 seconds."""
        try:
            async with asyncio.timeout(3):
                await self._pool.close()
        except (TimeoutError, *CONNECTION_ERRORS):
            self.abandon()
            self._pool.terminate()

    async def connect(self) -> asyncpg.Connection:
        """One more connection, for the caller to keep and to close. Raises Unavailable."""
        try:
            connection = await connect(self._url, command_timeout=TIMEOUT)
        except DatabaseError as error:  # one that is being restored may be missing or closed
            raise Unavailable(str(error)) from error
        self._connections.add(connection)
        return connection

    async def _connect(self, *_: Any, **__: Any) -> asyncpg.Connection:
        return await self.connect()

    def abandon(self) -> None:
        """Give up all connections, as when the network swallows packets: what waits on them fails now."""
        for connection in tuple(self._connections):
            connection.terminate()
        self._connections.clear()

    async def fetch(self, sql: str, *args: object) -> Any:
        """The rows of a statement. Raises Unavailable or Refused.

        It waits for a connection for TIMEOUT at most, and not at all where MAX_WAITING others wait already.
        """
        if self._waiting >= MAX_WAITING:
            raise Unavailable(f"{self._waiting} statements wait for a connection already")
        with told():
            connection = await self._acquire()
            try:
                return await connection.fetch(sql, *args)
            finally:
                await self._pool.release(connection)

    async def _acquire(self) -> Any:
        self._waiting += 1
        try:
            async with asyncio.timeout(TIMEOUT):
                return await self._pool.acquire()
        except TimeoutError as error:
            raise Unavailable(f"no connection to the database was free within {TIMEOUT:.0f} s") from error
        finally:
            self._waiting -= 1
