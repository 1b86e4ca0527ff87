"""What an error of Postgres means for a client: by class, each raised by a real one while a note is written."""

from collections.abc import AsyncIterator

import aiohttp
import asyncpg
import pytest

from hub.errors import CommandError, DatabaseError, Held, Refused, Unavailable
from hub.feed.ports import Draft
from hub.postgres.pool import hub_errors
from hub.postgres.publisher import Publisher
from hub.postgres.sqlstate import TROUBLES, error_of, trouble
from hub.postgres.store import Store
from tests.conftest import Http, is_error

GUILTY = ("22001", "22021", "22P02", "23502", "23505", "23514", "44000", "54000", "P0001", "P0004", "XY123", "ZZ000")
RAISE = """
    create function fail() returns trigger language plpgsql as $$begin
        if new.username = 'fails' then raise exception 'secret' using errcode = new.body; end if;
        return new;
    end$$;
    create trigger fail before insert on note for each row execute function fail()
"""


@pytest.fixture
async def publisher(url: str) -> AsyncIterator[Publisher]:
    store = Store(url, 1)
    await store.open()
    publisher = Publisher(store)
    yield publisher
    await publisher.close()
    await store.close()


async def test_by_class(publisher: Publisher, database: asyncpg.Connection) -> None:
    """Only what the note is guilty of is refused, with the reason; all else is temporary and says what is wrong."""
    await database.execute(RAISE)
    states = [state.ljust(5, "0") for state in TROUBLES if state != "57014"] + ["40001", "40P01", "57P01", "58030"]
    results = list(await publisher.publish([Draft("lobby", "fails", state) for state in (*states, *GUILTY)]))
    for state, result in zip((*states, *GUILTY), results, strict=True):
        assert isinstance(result, CommandError), state
        assert isinstance(result, Refused) == (state in GUILTY) == (result.error.code == "refused"), state
        assert result.error.temporary == (state not in GUILTY) and result.error.hint
        assert isinstance(result, Held) == (state[:2] == "40" or state == "55P03")
        if found := trouble(state):
            assert found.what in result.error.message or "not known" in result.error.message
            assert "secret" not in result.error.message


async def test_read_only(publisher: Publisher, database: asyncpg.Connection) -> None:
    """While the database takes no changes, as during a failover, it says so; then it goes on, by another connection."""
    name = await database.fetchval("select current_database()")
    await database.execute(f"alter database {name} set default_transaction_read_only = on")
    with pytest.raises(Unavailable) as caught:
        await publisher.publish([Draft("lobby", "gb", "a")])
    assert caught.value.error.code == "unavailable" and "read-only" in caught.value.error.message
    await database.execute(f"set transaction read write; alter database {name} reset default_transaction_read_only")
    assert all(await publisher.publish([Draft("lobby", "gb", "a")]))


async def test_over_http(start_hub, database: asyncpg.Connection) -> None:
    """A temporary error is 503 with a time to wait, one that the note is guilty of 422."""
    await database.execute(RAISE)
    async with start_hub() as (_, address), aiohttp.ClientSession() as session:
        http = Http(session, address)
        full = await http.post('{"username": "fails", "body": "53100"}')
        assert is_error(full, 503) and full[1]["Retry-After"] == "1" and "disk is full" in full[2]["message"]
        assert is_error(await http.post('{"username": "fails", "body": "23514"}'), 422)
        await database.execute("alter table note rename to away")
        away = await http.post('{"username": "gb", "body": "a"}')
        assert is_error(away, 503) and "a table is missing" in away[2]["message"] and "owner" in away[2]["hint"]
        await database.execute("alter table away rename to note")
        assert (await http.post('{"username": "gb", "body": "a"}'))[0] == 201


def test_for_people() -> None:
    """A command of a person waits for what passes by itself; what must be mended ends it, as does a refusal."""
    for kind, error in (
        (asyncpg.SerializationError, Unavailable),
        (asyncpg.TooManyConnectionsError, Unavailable),
        (asyncpg.ReadOnlySQLTransactionError, Unavailable),
        (asyncpg.InvalidPasswordError, DatabaseError),
        (asyncpg.UndefinedTableError, DatabaseError),
        (asyncpg.CheckViolationError, DatabaseError),
        (asyncpg.InternalClientError, Unavailable),
    ):
        with pytest.raises(error), hub_errors():
            raise kind("no")


def test_the_outcome_is_unknown_after_a_break() -> None:
    """Where the commit may have happened all the same the answer says so, and elsewhere that nothing was done."""
    assert "not known" in error_of("57P01", "x").error.message and "not known" in error_of("08006", "x").error.message
    assert "Nothing was done" in error_of("57014", "x").error.message
    assert "Nothing was done" in error_of("53100", "x\nDETAIL: y").error.message
