"""Connections that fail: each error says which database was meant, with host and port, and what to do."""

import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from hub.errors import DatabaseError, HubError, SettingsError, Unavailable
from hub.postgres.pool import connect
from tests.conftest import connected, with_name
from tests.programs import free_port

SECRET = "s3cret"


@pytest.fixture
async def role(server: str) -> AsyncIterator[str]:
    """A role that may not log in."""
    async with connected(with_name(server, "postgres")) as connection:
        await connection.execute("create role closed_out nologin")
        yield "closed_out"
        await connection.execute("drop role closed_out")


async def refusal(url: str, kind: type[HubError]) -> str:
    """The message with which no connection is made."""
    with pytest.raises(kind) as caught:
        await connect(url, timeout=0.2)
    return str(caught.value)


async def test_a_role_that_may_not(server: str, role: str) -> None:
    """A refused user is told where to correct it."""
    message = await refusal(server.replace("postgres@", f"{role}@"), DatabaseError)
    assert "notes on /" in message and "not permitted to log in" in message and "DATABASE_URL" in message


async def test_no_such_database(server: str) -> None:
    """A database that does not exist can be made."""
    message = await refusal(with_name(server, "nothing"), DatabaseError)
    assert "nothing on /" in message and "does not exist" in message and "createdb" in message


async def test_nobody_there() -> None:
    """Where nobody listens, the port may be wrong or Postgres down."""
    message = await refusal(f"postgresql://x:{SECRET}@127.0.0.1:{(port := free_port())}/notes", Unavailable)
    assert f"notes on 127.0.0.1:{port}" in message and "Postgres runs" in message and SECRET not in message


async def test_no_answer(unanswered: int) -> None:
    """Who listens and does not answer is named too."""
    message = await refusal(f"postgresql://x:{SECRET}@127.0.0.1:{unanswered}/notes", Unavailable)
    assert f"notes on 127.0.0.1:{unanswered}" in message and "no answer" in message


@pytest.mark.parametrize("query", ["sslmode=no", "target_session_attrs=no"])
async def test_wrong_parameters(query: str) -> None:
    """What asyncpg refuses in a URL is wrong for good."""
    message = await refusal(f"postgresql://x:{SECRET}@127.0.0.1/notes?{query}", SettingsError)
    assert query.partition("=")[0] in message and SECRET not in message and "\n" not in message


@pytest.fixture
def unanswered() -> Iterator[int]:
    """A port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]
