"""The commands on a database that is not where one thinks: one line says where they looked and what to do."""

import sys
from pathlib import Path

import asyncpg
import pytest

from tests.cli.test_cli import one_line, run
from tests.conftest import copy, name_of
from tests.programs import free_port, program

ON_A_DATABASE = [["psql"], ["database-url"], ["prune", "--older-than", "90d"]]
SECRET = "s3cret"


@pytest.mark.parametrize("command", ON_A_DATABASE, ids=lambda command: command[0])
async def test_the_wrong_folder(command: list[str], tmp_path: Path) -> None:
    """In a folder without a database every command but serve and migrate says where it looked, and makes nothing."""
    folder = tmp_path / "elsewhere"
    code, out, err = await run(*command, "--data-dir", str(folder))
    assert (code, out) == (1, "") and not folder.exists()
    assert str(folder) in one_line(err) and "--data-dir" in err and "DATABASE_URL" in err and "cd " in err


async def test_migrate_makes_a_database(tmp_path: Path) -> None:
    """Migrate makes a database where there is none, and says so."""
    folder = str(tmp_path / "data")
    code, out, err = await run("migrate", "--data-dir", folder)
    assert code == 0 and out.startswith("applied 1") and folder in out and "new_database" in err


async def test_check_writes_nothing(cluster: Path, tmp_path: Path) -> None:
    """Check names the embedded database and says that it lacks the schema, rather than making it."""
    copy(cluster, tmp_path / "data")
    code, out, _ = await run("check", "--data-dir", str(tmp_path / "data"))
    assert code == 1 and f"notes on {tmp_path / 'data'}" in out and "notes-hub migrate" in out


async def test_check_names_its_database(url: str, database: asyncpg.Connection) -> None:
    """The first finding of check is which database it looks at."""
    _, out, _ = await run("check", DATABASE_URL=url + f"&password={SECRET}")
    first = out.splitlines()[0]
    assert first.startswith("ok ") and f"{name_of(url)} on /" in first and SECRET not in out


@pytest.mark.parametrize("command", [["listen"], ["prune", "--older-than", "90d"]], ids=lambda command: command[0])
async def test_a_database_without_the_schema(command: list[str], empty_url: str) -> None:
    """What needs the schema says that it is missing and how to make it; nobody makes it unasked, psql neither."""
    code, out, err = await run(*command, DATABASE_URL=empty_url)
    assert (code, out) == (1, "") and "notes-hub migrate" in one_line(err) and name_of(empty_url) in err
    code, out, _ = await run("psql", "-Atc", "select to_regclass('note') is null", DATABASE_URL=empty_url)
    assert (code, out) == (0, "t\n")


@pytest.mark.parametrize("command", ["serve", "database-url"])
async def test_a_malformed_url(command: str) -> None:
    """A malformed database URL is one line at once, without a password, and is not handed on to other programs."""
    code, out, err = await run(command, DATABASE_URL=f"postgresql://x:{SECRET}@h:abc/x")
    assert (code, out) == (1, "") and "database URL" in one_line(err) and SECRET not in err


async def test_waiting_for_a_database() -> None:
    """While serve waits for Postgres, its log says where."""
    port = free_port()
    url = f"postgresql://x:{SECRET}@127.0.0.1:{port}/notes"
    async with program(sys.executable, "-m", "hub", "serve", "--port", "0", stderr_too=True, DATABASE_URL=url) as serve:
        assert (
            f"notes on 127.0.0.1:{port}" in await serve.until("waiting_for_database") and SECRET not in serve.lines[-1]
        )
