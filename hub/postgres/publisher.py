"""The connections that publish.

Owns one connection for batches, kept apart from the pool: the pool would let some turns of the event loop go by between
two statements, each as long as the hub's other work makes it. Another one, made when it is needed, tries what other
transactions hold up. It implements the feed's NoteTarget.
"""

import time
from collections.abc import Iterable, Sequence

import asyncpg
import structlog

from hub.errors import CommandError
from hub.feed.ports import Draft, Placed
from hub.postgres import sqlstate
from hub.postgres.pool import CONNECTION_ERRORS, IDLE, Pool, told
from hub.protocol.codec import encode

log = structlog.get_logger()

# After these a new connection may find what this one lacks: a server that takes changes, for instance.
LOST = (*CONNECTION_ERRORS, asyncpg.ReadOnlySQLTransactionError)


class Publisher:
    """Inserts batches of notes, one after the other. One caller at a time, and one more for notes apart."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._lines = {False: _Line(pool), True: _Line(pool)}

    async def publish(self, drafts: Sequence[Draft], apart: bool = False) -> Iterable[Placed | CommandError | None]:
        """Insert notes in one transaction, in order; None for a note that a trigger of the table's owner dropped.

        A draft whose author and key exist already gets the place of the note that has them. One that fails gets its
        error, Held if another transaction is in its way, and the others are inserted. The places are made while they
        are read, so the next batch can be sent before. Raises Refused or Unavailable, and then none is inserted, or it
        is not known.
        """
        with told():
            rows = await self._lines[apart].publish(encode(drafts).decode())
        return (
            Placed(rowid, seq) if rowid is not None else failure and sqlstate.error_of(failure[:5], failure[6:])
            for rowid, seq, failure in rows
        )

    async def close(self) -> None:
        """End the connections, by force if they do not answer in time."""
        for line in self._lines.values():
            await line.close()


class _Line:
    """One connection, made anew when it was lost or not used for long."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._connection: asyncpg.Connection | None = None
        self._used = 0.0  # when the connection was last used

    async def publish(self, drafts: str) -> list[asyncpg.Record]:
        connection = await self._connected()
        try:
            rows: list[asyncpg.Record] = await connection.fetch(
                "select rowid, seq, failure from note_publish($1)", drafts
            )
        except LOST:
            connection.terminate()
            raise
        return rows

    async def close(self) -> None:
        if self._connection is not None:
            try:
                await self._connection.close(timeout=3)
            except CONNECTION_ERRORS:
                self._connection.terminate()

    async def _connected(self) -> asyncpg.Connection:
        now = time.monotonic()
        if self._connection is not None and now - self._used > IDLE:
            self._connection.terminate()
        self._used = now
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._pool.connect()
            self._connection.add_log_listener(_warn)
        return self._connection


def _warn(_: asyncpg.Connection, message: asyncpg.PostgresLogMessage) -> None:
    log.warning("database_warning", message=str(message), hint=getattr(message, "hint", None))
