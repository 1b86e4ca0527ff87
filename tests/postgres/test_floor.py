"""The floor of the log: one row, whatever is inserted or restored."""

import asyncpg
import pytest

from hub.embedded.files import binary
from hub.errors import Unavailable
from hub.postgres import migrations
from hub.postgres.store import NO_FLOOR, Store
from hub.settings import SQL_DIR
from tests.conftest import connected
from tests.postgres.test_check import durable, look
from tests.programs import output, psql

INSERT = "insert into note (username, body) values ('gb', 'x')"


async def floors(database: asyncpg.Connection) -> list[int]:
    return [row["floor"] for row in await database.fetch("select floor from note_log")]


async def mend(url: str, database: asyncpg.Connection, word: str) -> None:
    """Run what check says, after which it finds nothing wrong."""
    (text,) = [finding.text for finding in await look(url) if not finding.fine]
    assert word in text
    await database.execute(text.partition("Run: ")[2])
    assert all(finding.fine for finding in await look(url))


async def test_a_second_row(database: asyncpg.Connection) -> None:
    """An inserted row joins the one that is there: the highest floor stays."""
    for floor, expected in ((7, 7), (3, 7), (9, 9)):
        await database.execute("insert into note_log (floor) values ($1)", floor)
        assert await floors(database) == [expected]
    with pytest.raises(asyncpg.UniqueViolationError):
        await database.execute("alter table note_log disable trigger all; insert into note_log (floor) values (1)")


async def test_a_restore_of_data_alone(server: str, url: str, empty_url: str, database: asyncpg.Connection) -> None:
    """pg_dump --data-only into a database that has the schema fails nowhere, and brings its floor with it."""
    for _ in range(3):
        await database.execute(INSERT)
    await database.execute("select note_prune(now(), 2)")
    expected = await floors(database)
    dump = await output(binary("pg_dump"), "--data-only", "--dbname", url)
    async with connected(empty_url) as restored:
        await migrations.migrate(restored)
        await durable(restored)
        await output(*psql(empty_url, "--quiet", "--set", "ON_ERROR_STOP=1"), stdin=dump)
        assert await floors(restored) == expected != [0]
        assert await restored.fetchval("select count(*) from note") == 3
        assert (
            await restored.fetchval("select count(*) from note_event") == 1 + 3
        )  # the old one, and one a row restored
        await restored.execute(INSERT)
        assert all(finding.fine for finding in await look(empty_url))


@pytest.mark.parametrize("rows", [(), (5, 9, 7)])
async def test_a_log_from_before(empty_url: str, tmp_path, rows: tuple[int, ...]) -> None:
    """The migration leaves one row of several or of none: the highest floor, or the one below what the log has."""
    for version, path in migrations.files():
        if version < 5:
            (tmp_path / path.name).write_text(path.read_text())
    async with connected(empty_url) as database:
        await migrations.migrate(database, tmp_path)
        await database.execute("delete from note_log")
        await database.execute(INSERT)
        for floor in rows:
            await database.execute("insert into note_log values ($1)", floor)
        await migrations.migrate(database, SQL_DIR)
        first = await database.fetchval("select min(seq) from note_event")
        assert await floors(database) == [9 if rows else first - 1]


async def test_no_row(url: str, database: asyncpg.Connection) -> None:
    """A log without its row is unavailable, with the reason, and check says how to get it back."""
    await durable(database)
    await database.execute("delete from note_log")
    store = Store(url, 1)
    await store.open()
    try:
        for question in (store.head, lambda: store.tail(5), lambda: store.notes(None, 5)):
            with pytest.raises(Unavailable, match=NO_FLOOR):
                await question()
        await database.execute(INSERT)
        await mend(url, database, "note_log has no row")
        assert await floors(database) == [await store.head() - 1]
    finally:
        await store.close()


async def test_two_rows(url: str, database: asyncpg.Connection) -> None:
    """Where somebody took the guards away, check sees two rows, and the highest floor counts until it is mended."""
    await durable(database)
    await database.execute(
        "alter table note_log drop constraint note_log_pkey; drop trigger note_log_merge on note_log;"
        " insert into note_log (floor) values (7)"
    )
    store = Store(url, 1)
    await store.open()
    try:
        assert await store.head() == 7
    finally:
        await store.close()
    await mend(url, database, "note_log has 2 rows")
    assert await floors(database) == [7]
