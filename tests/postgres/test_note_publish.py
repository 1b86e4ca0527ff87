"""The log's numbers and a batch's places where clocks are wrong and triggers of the table's owner interfere."""

import json
from pathlib import Path

import asyncpg
import pytest

from hub.postgres import migrations
from tests.postgres.test_sql import INSERT, log


async def shift_clock(database: asyncpg.Connection, by: str) -> None:
    """Let the log read another clock."""
    source = await database.fetchval("select pg_get_functiondef('note_base'::regproc)")
    await database.execute(source.replace("clock_timestamp()", f"(clock_timestamp() + interval '{by}')"))


async def publish(database: asyncpg.Connection, *bodies: str, **more: object) -> list[asyncpg.Record]:
    drafts = [{"topic": "lobby", "username": "gb", "body": body, **more} for body in bodies]
    return await database.fetch("select * from note_publish($1)", json.dumps(drafts))


@pytest.mark.parametrize(("by", "believed"), [("300 years", False), ("11 years", False), ("9 years", True)])
async def test_a_clock_far_ahead(url: str, by: str, believed: bool) -> None:
    """A clock over ten years ahead of the newest event is no floor: the next number is taken, with a warning."""
    warnings: list[str] = []
    source = await asyncpg.connect(url)
    source.add_log_listener(lambda _, message: warnings.append(str(message)))
    await source.execute(INSERT, "a")
    before = await source.fetchval("select max(seq) from note_event")
    original = await source.fetchval("select pg_get_functiondef('note_base'::regproc)")
    await shift_clock(source, by)
    await source.execute(INSERT, "b")
    await publish(source, "c", "d")
    seqs = [row["seq"] for row in await source.fetch("select seq from note_event order by seq")]
    assert (seqs == [before, before + 1, before + 2, before + 3]) is not believed and seqs[-1] < 2**53
    assert [("clock is not believed" in warning) for warning in warnings] == ([] if believed else [True])
    await source.execute(original)
    await source.execute(INSERT, "e")
    assert await source.fetchval("select max(seq) from note_event") > seqs[-1]
    await source.close()


@pytest.mark.parametrize(
    ("newest", "by", "believed"), [(0, "50 years", True), (0, "80 years", False), (1000, "0", True)]
)
async def test_the_first_clock(database: asyncpg.Connection, newest: int, by: str, believed: bool) -> None:
    """An empty log, and one whose server began without a clock, believe any clock before the year 2100."""
    await database.execute("select setval('note_seq', $1)", newest)
    await shift_clock(database, by)
    ((_, seq, _),) = await publish(database, "a")
    assert (seq > 1_700_000_000_000_000) is believed and (seq == newest + 1) is not believed


async def test_a_trigger_that_changes_rowids(database: asyncpg.Connection) -> None:
    """Notes whose rowid the owner's trigger chooses have that as their place."""
    await database.execute(
        """create function renumber() returns trigger language plpgsql as
               $$begin if new.body = 'spam' then return null; end if;
                 new.rowid := 1000 - new.rowid; return new; end$$;
           create trigger renumber before insert on note for each row execute function renumber()"""
    )
    rows = await publish(database, "a", "spam", "b")
    assert [row["rowid"] for row in rows] == [999, None, 997] and rows[0]["seq"] < rows[2]["seq"]
    assert {row["failure"] for row in rows} == {None}
    bodies = await database.fetch("select n.body from note_event e join note n using (rowid) order by e.seq")
    assert [row["body"] for row in bodies] == ["a", "b"]


async def test_a_dropped_note_is_nobody_elses(database: asyncpg.Connection) -> None:
    """A dropped note has no place, even where somebody has a note with the rowid that was drawn for it."""
    await database.execute("insert into note (rowid, username, body) select n, 'gb', n from generate_series(1, 5) n")
    await database.execute(
        """create function drop_all() returns trigger language plpgsql as $$begin return null; end$$;
           create trigger drop_all before insert on note for each row execute function drop_all()"""
    )
    assert [tuple(row) for row in await publish(database, "a", "b")] == [(None, None, None)] * 2


async def test_truncate_after_a_change(database: asyncpg.Connection) -> None:
    """TRUNCATE after a change in the same transaction needs the log written first, as the documents say."""
    async with database.transaction():
        await database.execute(INSERT, "a")
        with pytest.raises(asyncpg.ObjectInUseError):
            async with database.transaction():
                await database.execute("truncate note")
        await database.execute("set constraints note_log_row immediate")
        await database.execute("truncate note")
        await database.execute(INSERT, "b")
    assert [op for op, _, _ in await log(database)] == ["insert", "truncate", "insert"]


async def test_who_might_publish_still_may(empty_url: str, tmp_path: Path) -> None:
    """A role that was granted note_publish before it had another form keeps that right, and nobody else gets it."""
    database = await asyncpg.connect(empty_url)
    for version, path in migrations.files():
        if version < 6:
            (tmp_path / path.name).write_text(path.read_text())
    await migrations.migrate(database, tmp_path)
    await database.execute('create role "the Hub"; grant execute on function note_publish to "the Hub"')
    await migrations.migrate(database)
    try:
        may = "select has_function_privilege($1, 'note_publish(json)', 'execute')"
        assert await database.fetchval(may, "the Hub") and not await database.fetchval(may, "pg_monitor")
    finally:
        await database.execute('drop owned by "the Hub"; drop role "the Hub"')
        await database.close()
