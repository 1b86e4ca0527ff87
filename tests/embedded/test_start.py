"""Starts of the embedded server: the first, the next, those after an accident, and those that fail."""

import asyncio
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import uvloop

from hub.embedded import server as embedded
from hub.embedded.server import binary, database_url, is_running, running
from hub.errors import EmbeddedError
from tests.embedded.hubs import hub
from tests.embedded.servers import linux_only, postmaster, query, refused, servers, wait_until


async def test_first_start(data_dir: Path) -> None:
    """A first start makes the folder, answers asyncpg and psql at one URL, on no TCP port, and stops at the end."""
    async with running(data_dir) as url:
        assert url == database_url(data_dir) and is_running(data_dir)
        assert await query(data_dir, "SELECT upper('é') || current_setting('timezone')") == "ÉUTC"
        assert await query(data_dir, "SELECT current_setting('listen_addresses')") == ""
        for name in ("fsync", "full_page_writes", "synchronous_commit"):
            assert await query(data_dir, f"SELECT current_setting('{name}')") == "on"
        psql = await asyncio.to_thread(
            subprocess.run,
            [binary("psql"), url, "-Atc", "SELECT current_database()"],
            capture_output=True,
            text=True,
            env=os.environ | {"PGPORT": "1"},
        )
        assert psql.stdout == "notes\n", psql.stderr
        assert data_dir.stat().st_mode & 0o777 == 0o700
        assert {path.name for path in data_dir.iterdir()} == {"lock", "postgres", "postgres.log", "socket"}
    assert not is_running(data_dir) and not servers(data_dir)


async def test_restart_keeps_rows(ready_dir: Path) -> None:
    """A second start is ready in under a second, has the rows of the first, and cuts a log that has grown."""
    async with running(ready_dir, fast=True):
        await query(ready_dir, "CREATE TABLE kept AS SELECT 7 AS number")
    with open(ready_dir / "postgres.log", "ab") as log:
        log.truncate(embedded.LOG_BYTES + 1)
    start = time.monotonic()
    async with running(ready_dir, fast=True):
        assert time.monotonic() - start < 1
        assert await query(ready_dir, "SELECT number FROM kept") == 7
        assert (ready_dir / "postgres.log").stat().st_size < 100_000
        assert await query(ready_dir, "SELECT current_setting('fsync')") == "off"


async def test_an_interrupted_first_start_is_no_obstacle(data_dir: Path) -> None:
    """After kill -9 in the middle of initdb the next start works and leaves nothing of the first behind."""
    with hub(data_dir) as owner:
        await asyncio.to_thread(wait_until, lambda: list(data_dir.glob("initdb-*/base")))
        owner.kill()
        assert not (data_dir / "postgres").exists()
    async with running(data_dir, fast=True):
        assert not list(data_dir.glob("initdb-*"))


@linux_only
async def test_a_stale_pid_file(ready_dir: Path) -> None:
    """A postmaster.pid whose number belongs to some other living process of ours does not stop a start."""
    async with running(ready_dir, fast=True):
        text = (ready_dir / "postgres" / "postmaster.pid").read_text()
    with subprocess.Popen(["sleep", "60"]) as other:
        (ready_dir / "postgres" / "postmaster.pid").write_text("\n".join([str(other.pid), *text.split("\n")[1:]]))
        async with running(ready_dir, fast=True):
            assert await query(ready_dir, "SELECT 1") == 1
        other.kill()


@linux_only
@pytest.mark.parametrize("part", ["postmaster", "child"])
async def test_the_last_server_is_waited_for(ready_dir: Path, part: str) -> None:
    """What a killed owner left, a server or the children of one, ends before the next server starts."""
    with hub(ready_dir) as owner:
        assert owner.line() == "ready"
        last = postmaster(ready_dir)
        stopped = (
            last
            if part == "postmaster"
            else next(pid for pid in servers(ready_dir) if pid not in (last, owner.process.pid))
        )
        os.kill(stopped, signal.SIGSTOP)
        owner.kill()
        if part == "child":
            os.kill(last, signal.SIGKILL)
        start = asyncio.create_task(query_once_started(ready_dir))
        try:
            await asyncio.wait([start], timeout=0.4)
            assert not start.done() and postmaster(ready_dir) == last
        finally:
            os.kill(stopped, signal.SIGCONT)
        assert await start != last
        assert ("still in use" in (ready_dir / "postgres.log").read_text()) == (part == "child")


async def query_once_started(data_dir: Path) -> int:
    async with running(data_dir, fast=True):
        return postmaster(data_dir)


async def test_a_server_that_exits_at_start(ready_dir: Path) -> None:
    """When Postgres does not start, the last FATAL line of its log is the message."""
    async with running(ready_dir, fast=True):
        pass
    with open(ready_dir / "postgres" / "postgresql.conf", "a") as settings:
        settings.write("shared_preload_libraries = 'no_such_library'\n")
    assert 'could not access file "no_such_library"' in await refused(ready_dir)
    assert not servers(ready_dir)


def test_an_unknown_program() -> None:
    """A program that the package does not bring is named."""
    with pytest.raises(EmbeddedError, match="no oracle"):
        binary("oracle")


def test_uvloop_runs_it(data_dir: Path) -> None:
    """It works in the hub's own process on uvloop."""

    async def main() -> object:
        async with running(data_dir, fast=True):
            return await query(data_dir, "SELECT 1")

    assert uvloop.run(main()) == 1
