"""Reads of the notes and of their log.

Owns the queries, and turns rows into messages and events. It implements the feed's Log. It never listens (`listener`)
or publishes (`publisher`), which need connections of their own, and never knows a client.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import asyncpg

from hub.feed.events import Event
from hub.postgres.notifications import note_event
from hub.postgres.pool import Pool
from hub.protocol import Deleted, Message, Note, Reset

TRUNCATED = "all notes were removed"

# A timestamptz may lie before the year 1 or after 9999, or be infinite (Postgres manual, 8.5); a datetime may not.
_TIMES = ", ".join(
    f"greatest(least({name}, timestamptz '9999-12-31 00:00+00'), timestamptz '0001-01-02 00:00+00') as {name}"
    for name in ("n.created_timestamp", "n.updated_timestamp")
).replace(" as n.", " as ")
_COLUMNS = f"n.username, n.body, {_TIMES}, n.key"

_NOTES = f"""
    select n.rowid, n.topic, {_COLUMNS},
           coalesce((select max(seq) from note_event e where e.rowid = n.rowid), (select floor from note_log)) as seq
    from note n
"""
_HEAD = "select greatest((select max(seq) from note_event), (select floor from note_log))"
_STATE = f"""
    select last_value, pg_notification_queue_usage(), ({_HEAD}), current_setting('transaction_read_only')::bool
    from note_seq
"""


class LogState(NamedTuple):
    """The state of the log and of the database, as the database reports it."""

    last: int  # the newest seq drawn; it may belong to a transaction that is still committing
    queue_usage: float  # how full the database's notify queue is, from 0 to 1
    head: int  # the position of the newest event that is committed
    read_only: bool  # whether nothing can be written, as after a failover on the server that was the primary


class Store(Pool):
    """The notes and their log, read over a pool of connections. Every method may raise Unavailable or Refused."""

    async def events(self, after: int, until: int | None, topics: Sequence[str] | None, limit: int) -> list[Event]:
        """The events of the log with after < seq <= until, in order: the first `limit` of them.

        `until` None means up to the newest event, and `topics` None means all topics. An event carries its row as it is
        now. If the row is gone or has moved to another topic, the event carries nothing, and a later event says so.
        """
        rows = await self.fetch(
            f"""
            select e.seq, e.op, e.rowid, e.topic, {_COLUMNS}
            from (
                select seq, op, rowid, topic from note_event
                where seq > $1 and ($2::bigint is null or seq <= $2)
                  and ($3::text[] is null or topic = any($3) or topic is null)
                order by seq limit $4
            ) e
            left join note n on n.rowid = e.rowid and n.topic = e.topic and e.op in ('insert', 'update')
            order by e.seq
            """,
            after,
            until,
            topics,
            limit,
        )
        return [_event(row) for row in rows]

    async def holds(self, seq: int) -> bool:
        """Whether a cursor is a position of this log: the seq of an event, or the floor.

        The floor is the highest seq that was ever pruned.
        """
        rows = await self.fetch(
            "select exists (select from note_event where seq = $1) or $1 = (select floor from note_log) as held", seq
        )
        return bool(rows[0]["held"])

    async def head(self) -> int:
        """The position of the newest event; the floor if the log is empty."""
        return int((await self.fetch(_HEAD))[0][0])

    async def tail(self, events: int) -> int:
        """The cursor after which the log holds at most this number of events."""
        rows = await self.fetch(
            "select coalesce((select seq from note_event order by seq desc offset $1 limit 1),"
            " (select floor from note_log))",
            events,
        )
        return int(rows[0][0])

    async def notes(
        self, topics: Sequence[str] | None, limit: int, before: int | None = None, after: int | None = None
    ) -> tuple[list[Note], int]:
        """At most `limit` notes, and the head of the log in the same snapshot of the database.

        They are the newest notes, or with `before` the newest with a lower rowid, in the order of their creation. With
        `after`, a cursor, they are the first notes whose last change came after it, in the order of that change.
        `topics` None means all topics.
        """
        if after is None:
            which, order = "($3::bigint is null or n.rowid < $3::bigint)", "n.rowid desc"
        else:
            which, order = (
                """n.rowid in (
                    select e.rowid from note_event e
                    where e.seq > $3::bigint and not exists (
                        select from note_event l where l.rowid = e.rowid and l.seq > e.seq))""",
                "seq",
            )
        rows = await self.fetch(
            f"""
            select head.seq as head, found.* from ({_HEAD} as seq) head
            left join (
                {_NOTES} where ($1::text[] is null or n.topic = any($1)) and {which} order by {order} limit $2
            ) found on true
            """,
            topics,
            limit,
            before if after is None else after,
        )
        notes = [_note(row) for row in rows if row["rowid"] is not None]
        return (notes[::-1] if after is None else notes), rows[0]["head"]

    async def snapshot(self, topics: Sequence[str] | None, last: int) -> tuple[Sequence[Message], int]:
        """The newest `last` notes in the order of their creation, and the seq at which they are current."""
        return await self.notes(topics, last)

    async def get(self, rowid: int) -> Note | None:
        """The note with this rowid, or None if there is none."""
        rows = await self.fetch(f"{_NOTES} where n.rowid = $1::bigint", rowid)
        return _note(rows[0]) if rows else None

    async def prune(self, before: datetime, most: int) -> int:
        """Delete the oldest events of the log: at most `most`, and only up to the last one that is older than `before`.

        Returns how many were deleted. The notes themselves stay.
        """
        return int((await self.fetch("select note_prune($1, $2)", before, most))[0][0])

    async def notify(self, channel: str, timeout: float) -> None:
        """Send an empty notification. If that takes over `timeout` seconds, abandon all connections of the pool."""
        giving_up = asyncio.get_running_loop().call_later(timeout, self.abandon)
        try:
            await self.fetch("select pg_notify($1, '')", channel)
        finally:
            giving_up.cancel()

    async def state(self) -> LogState:
        """The state of the log and of the database. The query takes no lock and writes nothing."""
        return LogState(*(await self.fetch(_STATE))[0])


def _event(row: asyncpg.Record) -> Event:
    seq, op, topic = row["seq"], row["op"], row["topic"]
    if op == "truncate":
        return Event(seq, None, Reset(seq, TRUNCATED))
    if op == "delete":
        return Event(seq, topic, Deleted(seq, row["rowid"], topic))
    return Event(seq, topic, None) if row["username"] is None else note_event(_note(row))


def _note(row: asyncpg.Record) -> Note:
    return Note(
        row["seq"],
        row["rowid"],
        row["topic"],
        row["username"],
        row["body"],
        row["created_timestamp"],
        row["updated_timestamp"],
        row["key"],
    )
