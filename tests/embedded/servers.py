"""What runs in a data folder: its processes, what the server answers, and why one does not start."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from hub.embedded.server import database_url, running
from hub.errors import EmbeddedError

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def servers(folder: Path) -> list[int]:
    """Every process that works below the folder: postmaster, its children, initdb."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.readlink(entry / "cwd").startswith(str(folder)):
                found.append(int(entry.name))
    return found


def postmaster(data_dir: Path) -> int:
    return int((data_dir / "postgres" / "postmaster.pid").read_text().split()[0])


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def wait_until(condition: Callable[[], object], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "condition not met in time"
        time.sleep(0.02)


async def query(data_dir: Path, sql: str) -> object:
    """Result of a statement, tried again while the server is away."""
    async with asyncio.timeout(15):
        while True:
            try:
                connection = await asyncpg.connect(database_url(data_dir))
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await asyncio.sleep(0.02)
                continue
            try:
                return await connection.fetchval(sql)
            finally:
                await connection.close()


async def refused(data_dir: Path) -> str:
    """The message of a start that must fail."""
    with pytest.raises(EmbeddedError) as caught:
        async with running(data_dir, fast=True):
            pytest.fail("it started")
    assert "\n" not in str(caught.value)
    return str(caught.value)
