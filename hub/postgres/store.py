"""Reads of notes and of their log.

Owns the queries and turns rows into messages and events. It implements the feed's Log. It never listens (`listener` has
a connection of its own), never publishes (`publisher` has one too), and decides nothing about clients.
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

# Postgres knows years before 1 and after 9999 and infinity; a datetime does not.
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


class LogState(NamedTuple):
    """The log as the database sees it."""

    last: int  # the newest seq drawn; it may belong to a transaction that is still committing
    queue_usage: float  # how full the database's notify queue is, 0 to 1


class Store(Pool):
    """The notes and the log."""

    async def events(self, after: int, until: int | None, topics: Sequence[str] | None, limit: int) -> list[Event]:
        """The log's events with after < seq <= until (None: all there are) of some topics (None: all), in order.

        An event carries its row as it is now. Where that is gone or has moved since, it
        carries nothing: a later event says so.
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
        """Whether a cursor is a position of this log: the seq of an event, or the floor."""
        rows = await self.fetch(
            "select exists (select from note_event where seq = $1) or $1 = (select floor from note_log) as held", seq
        )
        return bool(rows[0]["held"])

    async def head(self) -> int:
        """The position of the newest event."""
        return int((await self.fetch(_HEAD))[0][0])

    async def tail(self, events: int) -> int:
        """The cursor after which the log holds at most that many events."""
        rows = await self.fetch(
            "select coalesce((select seq from note_event order by seq desc offset $1 limit 1),"
            " (select floor from note_log))",
            events,
        )
        return int(rows[0][0])

    async def notes(
        self, topics: Sequence[str] | None, limit: int, before: int | None = None, after: int | None = None
    ) -> tuple[list[Note], int]:
        """At most `limit` notes, and the log's head in the same snapshot of the database.

        The newest, in the order of their creation; or the newest with a rowid below `before`; or
        those last changed after the cursor `after`, in the order of that change.
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
        """The newest `last` notes, as `notes` gives them."""
        return await self.notes(topics, last)

    async def get(self, rowid: int) -> Note | None:
        """One note, or None where there is none."""
        rows = await self.fetch(f"{_NOTES} where n.rowid = $1::bigint", rowid)
        return _note(rows[0]) if rows else None

    async def prune(self, before: datetime, most: int) -> int:
        """Trim the log of at most that many of its oldest events from before a time; gives how many went."""
        return int((await self.fetch("select note_prune($1, $2)", before, most))[0][0])

    async def notify(self, channel: str, timeout: float) -> None:
        """Send an empty notification; connections that do not do so within these seconds are abandoned."""
        giving_up = asyncio.get_running_loop().call_later(timeout, self.abandon)
        try:
            await self.fetch("select pg_notify($1, '')", channel)
        finally:
            giving_up.cancel()

    async def state(self) -> LogState:
        """The newest seq and the notify queue's state; takes no lock and writes nothing."""
        row = (await self.fetch("select last_value, pg_notification_queue_usage() from note_seq"))[0]
        return LogState(*row)


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
