"""Reads of the notes and of their log.

Owns the queries, and turns rows into messages and events. It implements the feed's Log. It never listens (`listener`)
or publishes (`publisher`), which need connections of their own, and never knows a client.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import structlog

from hub.errors import Unavailable
from hub.feed.events import Event
from hub.postgres.notifications import note_event
from hub.postgres.pool import Pool
from hub.protocol import Deleted, Message, Note, Reset

log = structlog.get_logger()

TRUNCATED = "all notes were removed"
NO_FLOOR = "table note_log has no row; `notes-hub check` says how to mend that"
LOGGED = 100  # rows that are not understood, each logged once; more of them are only counted
LOWEST, HIGHEST = -(2**63), 2**63 - 1  # of a bigint

# A timestamptz may lie before the year 1 or after 9999, or be infinite (Postgres manual, 8.5); a datetime may not.
# NULL stays NULL, which greatest and least would pass over.
_TIMES = ", ".join(
    f"case when n.{name} is not null then greatest(least(n.{name}, timestamptz '9999-12-31 00:00+00'),"
    f" timestamptz '0001-01-02 00:00+00') end as {name}"
    for name in ("created_timestamp", "updated_timestamp")
)
_COLUMNS = f"n.username, n.body, {_TIMES}, n.key"

_FLOOR = "(select max(floor) from note_log)"
_HEAD = f"greatest((select max(seq) from note_event), {_FLOOR})"
_SEQ = f"coalesce((select max(seq) from note_event e where e.rowid = n.rowid), {_FLOOR})"

# A row with NULL where a note has none is not a note. Pages pass over it in the query, so that a page with fewer notes
# than were asked for is the last one.
_WHOLE = "(n.rowid, n.topic, n.username, n.body, n.created_timestamp, n.updated_timestamp) is not null"

# How a page is read must not depend on what Postgres guesses about topics: one of them may have nearly all notes,
# another none, and a prepared statement gets one plan for all of them. So each topic is a range of an index that has
# topic and position, and is read in its order up to the limit. The range is made of two comparisons of rows, since
# `topic = …` lets Postgres read all topics in the order of positions instead, to the end where a topic has little.
# $1 is the limit, $2 and $3 are positions, the last parameter is the topics.
_NEWEST = f"select n.* from note n where n.rowid < $2::bigint and {_WHOLE} order by n.rowid desc limit $1"
_NEWEST_OF_TOPICS = f"""
    select n.* from unnest($3::text[]) as t(topic) cross join lateral (
        select n.* from note n
        where (n.topic, n.rowid) < (t.topic, $2::bigint) and (n.topic, n.rowid) >= (t.topic, {LOWEST}) and {_WHOLE}
        order by n.topic desc, n.rowid desc limit $1
    ) n order by n.rowid desc limit $1
"""
# An event is the last one of its note if no later one has the rowid. These are scalar subqueries, asked of one event
# after the other: Postgres makes `exists` and `not exists` joins, which may read the whole log and all notes. And with
# `=` for `>=` it would expect so few of these events that it reads the whole log to sort it.
_IS_LAST = f"""
    e.seq >= (select max(l.seq) from note_event l where l.rowid = e.rowid)
    and (select true from note n where n.rowid = e.rowid and {_WHOLE} limit 1)
"""
_CHANGED = f"select e.seq, e.rowid from note_event e where e.seq > $2 and {_IS_LAST} order by e.seq limit $1"
_CHANGED_OF_TOPICS = f"""
    select e.seq, e.rowid from unnest($3::text[]) as t(topic) cross join lateral (
        select e.seq, e.rowid from note_event e
        where (e.topic, e.seq) > (t.topic, $2::bigint) and (e.topic, e.seq) <= (t.topic, {HIGHEST}) and {_IS_LAST}
        order by e.topic, e.seq limit $1
    ) e order by e.seq limit $1
"""
# Likewise it takes two comparisons of one column for a narrow range, which it then sorts, but not these.
_EVENTS = """
    select seq, op, rowid, topic from note_event where seq > $2 and (seq, seq) <= ($3, $3) order by seq limit $1
"""
_EVENTS_OF_TOPICS = """
    (select e.seq, e.op, e.rowid, e.topic from unnest($4::text[]) as t(topic) cross join lateral (
        select seq, op, rowid, topic from note_event
        where (note_event.topic, seq) > (t.topic, $2::bigint) and (note_event.topic, seq) <= (t.topic, $3::bigint)
        order by note_event.topic, seq limit $1
    ) e)
    union all
    (select seq, op, rowid, topic from note_event
     where topic is null and seq > $2 and seq <= $3 order by seq limit $1)
    order by seq limit $1
"""
_STATE = f"""
    select last_value, pg_notification_queue_usage(), {_HEAD}, current_setting('transaction_read_only')::bool
    from note_seq
"""


class LogState(NamedTuple):
    """The state of the log and of the database, as the database reports it."""

    last: int  # the newest seq drawn; it may belong to a transaction that is still committing
    queue_usage: float  # how full the database's notify queue is, from 0 to 1
    head: int  # the position of the newest event that is committed
    read_only: bool  # whether nothing can be written, as after a failover on the server that was the primary


class Strange:
    """Counts the rows of `note` that are no notes, whoever reads them, and logs each once."""

    def __init__(self) -> None:
        self.times = 0  # that such a row was read
        self._logged: set[int] = set()  # their rowids

    def met(self, rowid: int, seq: int) -> None:
        """Such a row was read."""
        self.times += 1
        if rowid not in self._logged and len(self._logged) < LOGGED:
            self._logged.add(rowid)
            log.warning("row_not_understood", rowid=rowid, seq=seq, hint="notes-hub check names the column")


class Store(Pool):
    """The notes and their log, read over a pool of connections. Every method may raise Unavailable or Refused.

    A row of `note` may be no note: NULL or another type where a note has a text, as after an ALTER TABLE under a
    running hub. No method fails for it: events of it carry nothing, as if the row were gone, and pages leave it out.
    `strange` counts them; the stores of one hub have it in common.
    """

    def __init__(self, url: str, size: int, strange: Strange | None = None) -> None:
        super().__init__(url, size)
        self.strange = strange or Strange()

    async def events(self, after: int, until: int | None, topics: Sequence[str] | None, limit: int) -> list[Event]:
        """The events of the log with after < seq <= until, in order: the first `limit` of them.

        `until` None means up to the newest event, and `topics` None means all topics. An event carries its row as it is
        now. If the row is gone or has moved to another topic, the event carries nothing, and a later event says so.
        """
        rows = await self.fetch(
            f"""
            select e.op, n.rowid is not null, e.seq, e.rowid, e.topic, {_COLUMNS}
            from ({_EVENTS if topics is None else _EVENTS_OF_TOPICS}) e
            left join lateral (
                select * from note n
                where n.rowid = e.rowid and n.topic = e.topic and e.op in ('insert', 'update') limit 1
            ) n on true
            order by e.seq
            """,
            limit,
            after,
            HIGHEST if until is None else until,
            *(() if topics is None else (topics,)),
        )
        return [self._event(row[0], row[1], row[2:]) for row in rows]

    async def holds(self, seq: int) -> bool:
        """Whether a cursor is a position of this log: the seq of an event, or the floor.

        The floor is the highest seq that was ever pruned.
        """
        rows = await self.fetch(f"select exists (select from note_event where seq = $1) or $1 = {_FLOOR} as held", seq)
        return bool(rows[0]["held"])

    async def head(self) -> int:
        """The position of the newest event; the floor if the log is empty."""
        return _position((await self.fetch(f"select {_HEAD}"))[0][0])

    async def tail(self, events: int) -> int:
        """The cursor after which the log holds at most this number of events."""
        rows = await self.fetch(
            f"select coalesce((select seq from note_event order by seq desc offset $1 limit 1), {_FLOOR})", events
        )
        return _position(rows[0][0])

    async def notes(
        self, topics: Sequence[str] | None, limit: int, before: int | None = None, after: int | None = None
    ) -> tuple[list[Note], int]:
        """At most `limit` notes, and the head of the log in the same snapshot of the database.

        They are the newest notes, or with `before` the newest with a lower rowid, in the order of their creation. With
        `after`, a cursor, they are the first notes whose last change came after it, in the order of that change.
        `topics` None means all topics.
        """
        if after is None:
            which = _NEWEST if topics is None else _NEWEST_OF_TOPICS
            found = f"select {_SEQ} as seq, n.rowid, n.topic, {_COLUMNS} from ({which}) n order by n.rowid desc"
            position = HIGHEST if before is None else before
        else:
            which = _CHANGED if topics is None else _CHANGED_OF_TOPICS
            found = f"""
                select c.seq, n.rowid, n.topic, {_COLUMNS} from ({which}) c
                cross join lateral (select * from note n where n.rowid = c.rowid limit 1) n order by c.seq
            """
            position = after
        rows = await self.fetch(
            f"select head.seq, found.* from (select {_HEAD} as seq) head left join ({found}) found on true",
            limit,
            position,
            *(() if topics is None else (topics,)),
        )
        notes = [note for row in rows if row["rowid"] is not None and (note := self._note(row[1:]))]
        return (notes[::-1] if after is None else notes), _position(rows[0][0])

    async def snapshot(self, topics: Sequence[str] | None, last: int) -> tuple[Sequence[Message], int]:
        """The newest `last` notes in the order of their creation, and the seq at which they are current."""
        return await self.notes(topics, last)

    async def get(self, rowid: int) -> Note | None:
        """The note with this rowid, or None if there is none."""
        rows = await self.fetch(
            f"select {_SEQ}, n.rowid, n.topic, {_COLUMNS} from note n where n.rowid = $1::bigint", rowid
        )
        return self._note(tuple(rows[0])) if rows else None

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
        last, queue_usage, head, read_only = (await self.fetch(_STATE))[0]
        return LogState(last, queue_usage, _position(head), read_only)

    def _event(self, op: str, is_there: bool, values: tuple[Any, ...]) -> Event:
        seq, rowid, topic = values[:3]
        if op == "truncate":
            return Event(seq, None, Reset(seq, TRUNCATED))
        if op == "delete":
            return Event(seq, topic, Deleted(seq, rowid, topic))
        note = self._note(values) if is_there else None
        return note_event(note) if note else Event(seq, topic, None)

    def _note(self, values: tuple[Any, ...]) -> Note | None:
        """The note of these values, which are its fields in their order; None if that is not what they are."""
        seq, rowid, topic, username, body, created, updated, key = values
        _position(seq)
        if (
            type(topic) is type(username) is type(body) is str
            and created is not None
            and updated is not None
            and (key is None or type(key) is str)
        ):
            return Note(*values)
        self.strange.met(rowid, seq)
        return None


def _position(seq: int | None) -> int:
    """A position of the log. Raises Unavailable where there is none, as between two steps of a restore."""
    if seq is None:
        raise Unavailable(NO_FLOOR)
    return seq
