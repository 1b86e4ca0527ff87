"""Who keeps the embedded server: it ends with its owner, is shared, taken over, and started again."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from hub.embedded import server as embedded
from hub.embedded.server import is_running, running
from tests.embedded.hubs import hub
from tests.embedded.servers import linux_only, parent, postmaster, query, servers, wait_until


async def test_a_second_process_shares_and_takes_over(ready_dir: Path) -> None:
    """A second process uses the server of the first, and starts it anew at the same URL when the first is killed."""
    with hub(ready_dir) as owner:
        assert owner.line() == "ready"
        first = postmaster(ready_dir)
        async with running(ready_dir, fast=True):
            await query(ready_dir, "CREATE TABLE kept AS SELECT 7 AS number")
            assert postmaster(ready_dir) == first
            owner.kill()
            await asyncio.to_thread(wait_until, lambda: not Path(f"/proc/{first}").exists())
            assert await query(ready_dir, "SELECT number FROM kept") == 7
            assert postmaster(ready_dir) != first
    assert not is_running(ready_dir)


def test_processes_that_start_at_once(data_dir: Path) -> None:
    """Of several processes that start at once one makes the cluster and starts the server; all use it."""
    with hub(data_dir) as one, hub(data_dir) as two, hub(data_dir) as three:
        assert [owner.line() for owner in (one, two, three)] == ["ready"] * 3
        assert (data_dir / "postgres.log").read_text().count("starting PostgreSQL") == 1
        for owner in (three, two, one):  # whoever holds the lock, the next one starts a server only when it is free
            assert owner.end() == 0
    assert not is_running(data_dir)


async def test_a_second_process_leaves_the_server_alone(ready_dir: Path) -> None:
    """The end of a process that only shares the server does not stop it."""
    async with running(ready_dir, fast=True):
        async with running(ready_dir, fast=True):
            first = postmaster(ready_dir)
        assert postmaster(ready_dir) == first and await query(ready_dir, "SELECT 1") == 1


@linux_only
@pytest.mark.parametrize(
    ("loop", "guarded"), [("asyncio", False), ("uvloop", False), ("asyncio", True), ("uvloop", True)]
)
async def test_kill_of_the_owner(ready_dir: Path, loop: str, guarded: bool) -> None:
    """Kill -9 of the owner, on either loop, by the kernel or the shell, leaves no process and keeps the rows."""
    with hub(ready_dir, loop=loop, guarded=guarded) as owner:
        assert owner.line() == "ready"
        await query(ready_dir, "CREATE TABLE kept AS SELECT 7 AS number")
        assert bool("sh" in Path(f"/proc/{parent(postmaster(ready_dir))}/comm").read_text()) == guarded
        owner.kill()
        await asyncio.to_thread(wait_until, lambda: not servers(ready_dir), 5)
        assert "shutting down" in (ready_dir / "postgres.log").read_text()
    async with running(ready_dir, fast=True):
        assert await query(ready_dir, "SELECT number FROM kept") == 7


@linux_only
@pytest.mark.parametrize("guarded", [False, True])
def test_end_of_the_owner(ready_dir: Path, guarded: bool) -> None:
    """Ctrl-C in the owner's process group does not reach the server; the end of its block stops it cleanly."""
    with hub(ready_dir, guarded=guarded) as owner:
        assert owner.line() == "ready"
        assert os.getpgid(postmaster(ready_dir)) != os.getpgid(owner.process.pid)
        assert owner.end() == 0
        assert not servers(ready_dir) and "database system is shut down" in (ready_dir / "postgres.log").read_text()


async def test_a_block_left_by_an_exception_stops_the_server(ready_dir: Path) -> None:
    """Cancellation passes through the block as it is, twice if need be, and no process is left."""
    ready = asyncio.Event()

    async def use() -> None:
        async with running(ready_dir, fast=True):
            ready.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(use())
    await ready.wait()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not servers(ready_dir)


@linux_only
@pytest.mark.parametrize("guarded", [False, True])
async def test_a_killed_server_comes_back(ready_dir: Path, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is killed is started again while the block is open, as often as that happens."""
    monkeypatch.setattr(embedded, "GUARDED", guarded)
    async with running(ready_dir):
        await query(ready_dir, "CREATE TABLE kept AS SELECT 7 AS number")
        for _ in range(2):
            killed = postmaster(ready_dir)
            os.kill(killed, signal.SIGKILL)
            await asyncio.to_thread(wait_until, lambda pid=killed: not Path(f"/proc/{pid}").exists())
            assert await query(ready_dir, "SELECT number FROM kept") == 7
    assert not servers(ready_dir)
