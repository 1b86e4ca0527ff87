"""All SQL on notes and their log.

Owns the queries and turns rows into messages. It never listens (`listener` has a connection of its
own) and decides nothing about clients.
"""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

import asyncpg
import msgspec

from hub.feed.events import Event
from hub.postgres.pool import Database
from hub.protocol import Deleted, Note, Reset
from hub.protocol.codec import encode

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


class Draft(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A note to be published; the fields are checked already."""

    topic: str
    username: str
    body: str
    author: str | None = None
    key: str | None = None


class Placed(NamedTuple):
    """Where a published note stands in the table and in the log."""

    rowid: int
    seq: int


class Health(NamedTuple):
    """The log as the database sees it."""

    last: int  # the newest seq drawn; it may belong to a transaction that is still committing
    queue_usage: float  # how full the database's notify queue is, 0 to 1


class Store(Database):
    """The notes and the log."""

    async def publish(self, drafts: Sequence[Draft]) -> Iterable[Placed | None]:
        """Insert notes in one transaction, in order; None where a trigger of the database's owner dropped one.

        A draft whose author and key exist already gives the place of the note that has them. The
        places are made as they are read: the next batch can be sent before. One caller at a time.
        Raises Refused if any of them is refused (then none was inserted), or Unavailable.
        """
        rows = await self.fetch_next("select rowid, seq from note_publish($1)", encode(drafts).decode())
        return (None if rowid is None else Placed(rowid, seq) for rowid, seq in rows)

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

    async def health(self) -> Health:
        """The newest seq and the notify queue's state; takes no lock and writes nothing."""
        row = (await self.fetch("select last_value, pg_notification_queue_usage() from note_seq"))[0]
        return Health(*row)


def _event(row: asyncpg.Record) -> Event:
    seq, op, topic = row["seq"], row["op"], row["topic"]
    if op == "truncate":
        return Event(seq, None, Reset(seq, TRUNCATED))
    if op == "delete":
        return Event(seq, topic, Deleted(seq, row["rowid"], topic))
    return Event(seq, topic, None if row["username"] is None else _note(row))


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
