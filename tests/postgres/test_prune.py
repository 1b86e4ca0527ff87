"""What `prune` trims: by position, whatever the clock did meanwhile."""

import sys
import time
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from hub.postgres.store import Store
from tests.programs import output

DAY = 86_400_000_000  # microseconds, the unit of a seq
YEAR = timedelta(days=365)


def now() -> int:
    return time.time_ns() // 1000


async def log(database: asyncpg.Connection, *events: tuple[int, timedelta]) -> None:
    """Write events straight into the log: the seq of each, and how far from now the clock was."""
    at = datetime.now(UTC)
    rows = [(seq, at + off) for seq, off in events]
    await database.executemany(
        "insert into note_event (seq, op, rowid, topic, at) values ($1, 'insert', 1, 'a', $2)", rows
    )


async def left(url: str, database: asyncpg.Connection, most: int = 1000, age: timedelta = YEAR) -> list[int]:
    """The seqs that are left after a prune of what is older than a year."""
    store = Store(url, 1)
    await store.open()
    try:
        while await store.prune(datetime.now(UTC) - age, most):
            pass
    finally:
        await store.close()
    seqs = [row["seq"] for row in await database.fetch("select seq from note_event order by seq")]
    floor = await database.fetchval("select floor from note_log")
    assert not seqs or floor < seqs[0]
    return seqs


async def test_a_clock_behind(url: str, database: asyncpg.Connection) -> None:
    """An event whose clock was ten years behind takes none of its neighbours with it, and stays itself."""
    old, first = now() - 400 * DAY, now() - DAY
    await log(
        database,
        (old, -400 * timedelta(days=1)),
        (first, -timedelta(days=1)),
        (first + 1, -10 * YEAR),
        (first + 9, -timedelta(0)),
    )
    assert await left(url, database) == [first, first + 1, first + 9]


@pytest.mark.parametrize("most", [1, 2, 1000])
async def test_a_clock_far_ahead(url: str, database: asyncpg.Connection, most: int) -> None:
    """Numbers that are ahead of the clock tell no time: what follows them goes when it is old, and stays while not."""
    ahead = now() + 300 * 365 * DAY
    await log(
        database,
        (now() - 800 * DAY, -800 * timedelta(days=1)),
        (ahead, 300 * YEAR),
        (ahead + 1, 300 * YEAR),
        (ahead + 2, -2 * YEAR),
        (ahead + 3, -YEAR - timedelta(days=1)),
        (ahead + 4, 300 * YEAR),
        (ahead + 5, -timedelta(days=3)),
        (ahead + 6, -2 * YEAR),
    )
    assert await left(url, database, most) == [ahead + 4, ahead + 5, ahead + 6]


async def test_an_event_of_now_with_a_clock_ahead(url: str, database: asyncpg.Connection) -> None:
    """An event that a clock ahead wrote just now stays, though nothing tells its time."""
    ahead = now() + 300 * 365 * DAY
    await log(database, (now() - 800 * DAY, -800 * timedelta(days=1)), (ahead, 300 * YEAR))
    assert await left(url, database) == [ahead]


async def test_a_batch_reads_only_what_it_trims(url: str, database: asyncpg.Connection) -> None:
    """The second batch of a log begins where the first ended, and reads no more than it trims."""
    await database.execute(
        "insert into note_event (seq, op, rowid, topic) select n, 'insert', n, 'a' from generate_series(1, 20000) n"
    )
    assert await database.fetchval("select note_prune(now(), 100)") == 100
    async with database.transaction():
        assert await database.fetchval("select note_prune(now(), 100)") == 100
        read = await database.fetchrow(
            "select seq_tup_read, idx_tup_fetch from pg_stat_xact_user_tables where relname = 'note_event'"
        )
    assert read["seq_tup_read"] == 0 and read["idx_tup_fetch"] < 1000


async def test_a_database_without_the_schema(empty_url: str) -> None:
    """Prune on a new database is one line that says what to do."""
    printed = await output(
        sys.executable, "-m", "hub", "prune", "--older-than", "1d", "--database-url", empty_url, status=1
    )
    assert "notes-hub migrate" in printed and printed.count("\n") == 1
