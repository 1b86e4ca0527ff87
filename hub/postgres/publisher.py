"""The connection that publishes.

Owns one connection, kept apart from the pool: the pool would let some turns of the event loop go by between two
statements, each as long as the hub's other work makes it. It implements the feed's NoteTarget.
"""

import time
from collections.abc import Iterable, Sequence

import asyncpg

from hub.feed.ports import Draft, Placed
from hub.postgres.pool import CONNECTION_ERRORS, IDLE, Pool, told
from hub.protocol.codec import encode


class Publisher:
    """Inserts batches of notes, one after the other. One caller at a time."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._connection: asyncpg.Connection | None = None
        self._used = 0.0  # when the connection was last used

    async def publish(self, drafts: Sequence[Draft]) -> Iterable[Placed | None]:
        """Insert notes in one transaction, in order; None for a note that a trigger of the table's owner dropped.

        A draft whose author and key exist already gets the place of the note that has them. The places are made while
        they are read, so the next batch can be sent before. Raises Refused if any note is refused, and then none is
        inserted; or Unavailable.
        """
        with told():
            connection = await self._connected()
            try:
                rows = await connection.fetch("select rowid, seq from note_publish($1)", encode(drafts).decode())
            except CONNECTION_ERRORS:
                connection.terminate()
                raise
        return (None if rowid is None else Placed(rowid, seq) for rowid, seq in rows)

    async def close(self) -> None:
        """End the connection, by force if it does not answer in time."""
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
        return self._connection
