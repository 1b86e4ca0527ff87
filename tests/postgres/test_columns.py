"""Tables `note` that are older than the hub: what it needs of their columns."""

import contextlib

import asyncpg
import pytest

from hub.errors import MigrationError
from hub.postgres import migrations
from hub.postgres.columns import unfit
from tests.conftest import connected
from tests.postgres.test_check import look

FITTING = {
    "rowid": "serial primary key",
    "created_timestamp": "timestamptz not null default now()",
    "updated_timestamp": "timestamptz not null default now()",
    "username": "varchar(140) not null",
    "body": "varchar(140) not null",
}


def table(**changes: str) -> str:
    """The statement that makes a table note of the original's columns, with some of them otherwise."""
    columns = (f"{name} {text}" for name, text in (FITTING | changes).items() if text)
    return f"create table note ({', '.join(columns)})"


def statements(sentences: list[str]) -> str:
    return " ".join(sentence.partition("Run: ")[2] for sentence in sentences)


@pytest.mark.parametrize(
    "changes",
    [
        {"body": "text", "username": "text", "created_timestamp": "timestamptz"},
        {"topic": "int"},
        {"topic": "text", "author": "text not null", "key": "uuid"},
        {"rowid": "int"},
        {"rowid": "", "body": ""},
        {"rowid": "varchar(9) not null"},
        {"created_timestamp": "timestamp not null default now()", "updated_timestamp": "date"},
        {"created_timestamp": "text default '2020-01-01'", "body": "json"},
    ],
    ids=str,
)
async def test_columns_that_do_not_fit(empty_url: str, changes: dict[str, str]) -> None:
    """Migrate refuses them and changes nothing; the statements that it names mend them all, with the rows there are."""
    async with connected(empty_url) as database:
        await database.execute(table(**changes))
        with contextlib.suppress(asyncpg.NotNullViolationError):
            await database.execute("insert into note default values")
        with pytest.raises(MigrationError, match="alter table note") as caught:
            await migrations.migrate(database)
        assert await migrations.applied(database) == set()
        faults = await unfit(database)
        assert all(fault in str(caught.value) for fault in faults) and "\n" not in str(caught.value)
        await database.execute(statements(faults))
        assert await unfit(database) == []
        await migrations.migrate(database)
        assert await unfit(database) == []
        await database.execute("insert into note (username, body) values ('gb', 'x')")
        place = await database.fetchrow("""select * from note_publish('[{"topic":"a","username":"b","body":"c"}]')""")
        assert place["rowid"]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"body": "text not null", "username": "varchar not null", "rowid": "bigserial primary key"},
        {"rowid": "int generated always as identity unique", "topic": "text not null default 'all'"},
        {"key": "varchar(20) not null default 'k'"},
    ],
    ids=str,
)
async def test_columns_that_fit(empty_url: str, changes: dict[str, str]) -> None:
    """Texts of any length, whole numbers of both sizes and columns that others need are fine."""
    async with connected(empty_url) as database:
        await database.execute(table(**changes))
        await migrations.migrate(database)
        assert await unfit(database) == []


async def test_a_column_changed_later(url: str, database: asyncpg.Connection) -> None:
    """Check and migrate tell what was changed after the migration, with the statement that mends it."""
    await database.execute("alter table note alter body drop not null; alter table note drop column key")
    faults = await unfit(database)
    assert [fault.split()[0] for fault in faults] == ["note.body", "note.key"]
    with pytest.raises(MigrationError, match=r"note\.body may be NULL"):
        await migrations.migrate(database)
    texts = [finding.text for finding in await look(url) if not finding.fine]
    assert all(fault in texts for fault in faults)
    await database.execute(statements(faults))
    await migrations.migrate(database)
