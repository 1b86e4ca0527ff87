"""The check of a database: what would keep a hub from working well on it, in plain words.

Owns the questions and the wording of the findings. It never writes: it only reads, and sends one notification to
itself.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

import asyncpg

from hub.errors import NotListening
from hub.postgres import migrations
from hub.postgres.listener import prove
from hub.postgres.store import LogState, Store

OLDEST = 140000  # Postgres 14, in the form of server_version_num
TRIGGERS = ("note_log_row", "note_log_truncate", "note_touch")


class Finding(NamedTuple):
    """The result of one question: whether all is well, and a line for people."""

    fine: bool
    text: str


async def findings(connection: asyncpg.Connection, store: Store) -> AsyncIterator[Finding]:
    """The findings, in the order of the questions.

    They end early if the answer to one question leaves the others without meaning. `connection` asks and listens, and
    `store` sends the notification.
    """
    version = int(await connection.fetchval("show server_version_num"))
    name = await connection.fetchval("show server_version")
    yield Finding(
        version >= OLDEST,
        f"Postgres {name}" if version >= OLDEST else f"Postgres {name} is too old: 14 or later is needed.",
    )
    encoding = await connection.fetchval("show server_encoding")
    fine = encoding == "UTF8"
    yield Finding(
        fine,
        f"encoding {encoding}"
        if fine
        else f"The encoding is {encoding}: notes with characters it lacks will be refused; UTF8 takes all",
    )
    try:
        missing = {version for version, _ in migrations.files()} - await migrations.applied(connection)
    except asyncpg.InsufficientPrivilegeError:
        yield Finding(False, "The hub's role may not read hub_migration. Its owner can: grant select on … to …")
        return
    yield Finding(
        not missing,
        f"The schema lacks version {min(missing)}. Run: notes-hub migrate" if missing else "schema up to date",
    )
    if missing:
        return
    async for finding in _schema(connection):
        yield finding
    try:
        await prove(connection, store)
        yield Finding(True, "LISTEN delivers")
    except NotListening as error:
        yield Finding(False, str(error))
    for finding in log_state(
        await store.state(), await connection.fetchval("select (extract(epoch from clock_timestamp()) * 1e6)::bigint")
    ):
        yield finding


async def _schema(connection: asyncpg.Connection) -> AsyncIterator[Finding]:
    """The findings on triggers, on the rights of the hub's role, and on durability."""
    enabled = {
        row["tgname"]
        for row in await connection.fetch(
            "select tgname from pg_trigger where tgrelid = 'public.note'::regclass and tgenabled in ('O', 'A')"
        )
    }
    for trigger in TRIGGERS:
        fine = trigger in enabled
        text = f"The trigger {trigger} is off: changes pass unheard. Run: alter table note enable trigger {trigger}"
        yield Finding(fine, f"trigger {trigger}" if fine else text)
    for table in ("note", "note_event", "note_log", "note_seq"):
        if not await connection.fetchval("select has_table_privilege($1, 'select')", f"public.{table}"):
            yield Finding(False, f"The hub's role may not read {table}. Its owner can: grant select on {table} to …")
    if not await connection.fetchval("select has_function_privilege('public.note_publish(json)', 'execute')"):
        grant = "grant execute on function note_publish to …"
        yield Finding(False, f"The hub's role may not publish. The owner can: {grant}")
    durable = await connection.fetchval("show synchronous_commit") != "off"
    yield Finding(
        durable,
        "synchronous_commit on"
        if durable
        else "synchronous_commit is off: after a crash, notes that were acknowledged and delivered may be gone.",
    )


def log_state(state: LogState, clock: int) -> list[Finding]:
    """The findings on the clock and on the notify queue.

    `clock` is the time of the database in microseconds since 1970, the unit of a seq.
    """
    ahead = (state.last - clock) / 1e6
    wrong = f"The clock is {ahead:.0f} s behind the log. Order is kept, but check the server's time."
    if state.last >= 2**53:
        wrong = "The log's newest seq is above 2^53: no cursor can be resumed. docs/guarantees.md says how to go on."
    used = f"notify queue {state.queue_usage:.0%} full"
    return [
        Finding(
            ahead < 1,
            "clock and log agree" if ahead < 1 else wrong,
        ),
        Finding(
            state.queue_usage < 0.5,
            used
            if state.queue_usage < 0.5
            else f"{used}: some listener has an open transaction. Look for it in pg_stat_activity.",
        ),
    ]


async def run(connection: asyncpg.Connection, store: Store) -> list[Finding]:
    """All findings. Raises TimeoutError after 60 seconds."""
    async with asyncio.timeout(60):
        return [finding async for finding in findings(connection, store)]
