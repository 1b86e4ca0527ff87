"""All SQL on notes and their log.

Owns the connection pool and turns rows into messages; whatever goes wrong on the way to
Postgres leaves here as Unavailable. It never listens (`listener` has a connection of its own) and
decides nothing about clients.
"""

import asyncio
import random
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from weakref import WeakSet

import asyncpg
import msgspec
import structlog

from hub.broadcaster import Event
from hub.codec import CommandError, encode
from hub.protocol import Deleted, Error, Note, Reset

log = structlog.get_logger()

TIMEOUT = 10.0  # seconds for one statement of a client's request
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


class Unavailable(CommandError):
    """Postgres can't be reached or did not answer in time. What was asked for may work later."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            Error(
                "unavailable",
                "The database can't be reached, so it is not known whether this was done.",
                "Try again soon; a publish with a `key` can be sent again without being saved twice.",
                temporary=True,
            )
        )
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class Refused(CommandError):
    """Postgres refused a statement; the message is its own."""

    def __init__(self, reason: str) -> None:
        hint = "Change it as the message says, or ask the database's owner."
        super().__init__(Error("refused", f"The database refused this: {reason}", hint))


class Draft(msgspec.Struct, frozen=True, omit_defaults=True):
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


def backoff(first: float = 0.1, most: float = 5.0) -> Iterator[float]:
    """Seconds to wait before each further attempt: full jitter on a limit that doubles."""
    limit = first
    while True:
        yield random.uniform(0, limit)
        limit = min(limit * 2, most)


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


SERVER_SETTINGS = {
    "application_name": "notes-hub",
    "search_path": "public",
    "default_transaction_isolation": "read committed",
}


class Store:
    """The notes and the log, through a pool of `size` connections."""

    def __init__(self, url: str, size: int) -> None:
        self._url = url
        self._connections: WeakSet[asyncpg.Connection] = WeakSet()
        self._pool = asyncpg.create_pool(
            url,
            min_size=0,
            max_size=size,
            connect=self._connect,
            timeout=TIMEOUT,
            command_timeout=TIMEOUT,
            server_settings=SERVER_SETTINGS,
        )

    async def open(self) -> None:
        """Make the pool ready; connects only when it is used."""
        await self._pool

    async def close(self) -> None:
        """Give back the connections, by force if they do not answer."""
        try:
            await asyncio.wait_for(self._pool.close(), 3)
        except (TimeoutError, *CONNECTION_ERRORS):
            self._pool.terminate()

    async def _connect(self, *args: Any, **options: Any) -> asyncpg.Connection:
        connection = await asyncpg.connect(*args, **options)
        self._connections.add(connection)
        return connection

    def abandon(self) -> None:
        """Take all connections for dead, as in a black hole: what waits on them fails now, and new ones are made."""
        for connection in tuple(self._connections):
            connection.terminate()
        self._connections.clear()

    async def _fetch(self, sql: str, *args: object) -> Any:
        connected = False
        try:
            async with self._pool.acquire() as connection:
                connected = True
                return await connection.fetch(sql, *args)
        except CONNECTION_ERRORS as error:
            raise Unavailable(str(error) or type(error).__name__) from error
        except asyncpg.PostgresError as error:
            if not connected:  # a database that is being restored may be missing, or closed, for a while
                raise Unavailable(str(error)) from error
            raise Refused(str(error).partition("\n")[0]) from error  # its detail shows the row, its own or another's

    async def publish(self, drafts: Sequence[Draft]) -> list[Placed | None]:
        """Insert notes in one transaction, in order; None where a trigger of the database's owner dropped one.

        A draft whose author and key exist already gives the place of the note that has them.
        Raises Refused if any of them is refused (then none was inserted), or Unavailable.
        """
        rows = await self._fetch("select rowid, seq from note_publish($1)", encode(drafts).decode())
        return [None if row["rowid"] is None else Placed(row["rowid"], row["seq"]) for row in rows]

    async def events(self, after: int, until: int | None, topics: Sequence[str] | None, limit: int) -> list[Event]:
        """The log's events with after < seq <= until (None: all there are) of some topics (None: all), in order.

        An event carries its row as it is now. Where that is gone or has moved since, it
        carries nothing: a later event says so.
        """
        rows = await self._fetch(
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
        rows = await self._fetch(
            "select exists (select from note_event where seq = $1) or $1 = (select floor from note_log) as held", seq
        )
        return bool(rows[0]["held"])

    async def head(self) -> int:
        """The position of the newest event."""
        return int((await self._fetch(_HEAD))[0][0])

    async def tail(self, events: int) -> int:
        """The cursor after which the log holds at most that many events."""
        rows = await self._fetch(
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
        rows = await self._fetch(
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
        rows = await self._fetch(f"{_NOTES} where n.rowid = $1::bigint", rowid)
        return _note(rows[0]) if rows else None

    async def prune(self, before: datetime, most: int) -> int:
        """Trim the log of at most that many of its oldest events from before a time; gives how many went."""
        return int((await self._fetch("select note_prune($1, $2)", before, most))[0][0])

    async def notify(self, channel: str, timeout: float) -> None:
        """Send an empty notification; connections that do not do so within these seconds are abandoned."""
        giving_up = asyncio.get_running_loop().call_later(timeout, self.abandon)
        try:
            await self._fetch("select pg_notify($1, '')", channel)
        finally:
            giving_up.cancel()

    async def health(self) -> Health:
        """The newest seq and the notify queue's state; takes no lock and writes nothing."""
        row = (await self._fetch("select last_value, pg_notification_queue_usage() from note_seq"))[0]
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
