"""What the measurements share: a Postgres and a hub as processes of their own, rounds, tables."""

import asyncio
import contextlib
import json
import os
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from hub.embedded import server as embedded


@contextlib.asynccontextmanager
async def hub(*options: str) -> AsyncIterator[tuple[str, str, asyncio.subprocess.Process]]:
    """A hub on a database of its own: the hub's address, the database's URL, the hub's process."""
    async with embedded_database() as url, serving(url, *options) as (address, process):
        yield address, url, process


@contextlib.asynccontextmanager
async def embedded_database() -> AsyncIterator[str]:
    """An embedded Postgres with its normal durability: its URL."""
    with tempfile.TemporaryDirectory() as folder:
        async with embedded.running(Path(folder)) as url:
            yield url


@contextlib.asynccontextmanager
async def serving(
    url: str, *options: str, core: int | None = None, workers: int = 1
) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """A hub on a database: its address and its process, which is kept on a core and ended with the block."""
    command = [sys.executable, "-m", "hub", "serve", "--port", "0", "--database-url", url, *options]
    command += ["--workers", str(workers)]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE, preexec_fn=pinned(core))
    assert process.stderr
    try:
        address = ""
        async with asyncio.timeout(30):
            while workers:
                if not (line := await process.stderr.readline()):
                    raise RuntimeError("the hub did not start")
                workers -= b'"listening"' in line
                if b'"serving"' in line:
                    address = json.loads(line)["address"]
        yield address, process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def pinned(core: int | None) -> Callable[[], None] | None:
    """For `preexec_fn`: keeps a process, and those that it starts, on one core."""
    return None if core is None else lambda: os.sched_setaffinity(0, {core})


class CoreTime(NamedTuple):
    """Time in ns that processes ran, in user and system mode, and that they were ready and had no core."""

    ran: int
    waited: int


def cpu(pid: int) -> int:
    """The time in ns that a process and its descendants have run so far (Linux)."""
    return core_time(pid).ran


def core_time(pid: int) -> CoreTime:
    """What a process and its descendants have had so far (Linux)."""
    parents = {int(path.parent.name): _parent(path) for path in Path("/proc").glob("[0-9]*/stat")}
    family = {pid}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    tasks = [path for each in family for path in Path(f"/proc/{each}/task").glob("*/schedstat")]
    times = [path.read_text().split() for path in tasks]
    return CoreTime(sum(int(ran) for ran, _, _ in times), sum(int(waited) for _, waited, _ in times))


def _parent(stat: Path) -> int:
    try:
        return int(stat.read_text().rpartition(")")[2].split()[1])
    except OSError:  # it has ended meanwhile
        return 0


def masked(payload: bytes) -> bytes:
    """A client's text frame with a mask of zeros, which leaves the payload as it is (RFC 6455 §5.3)."""
    length = len(payload)
    size = bytes((0x80 | length,)) if length < 126 else b"\xfe" + length.to_bytes(2, "big")
    return b"\x81" + size + bytes(4) + payload


def row(label: str, values: Sequence[float], unit: str) -> str:
    """A line of a table: the median and the range."""
    middle = statistics.median(values)
    return f"  {label:<58} {middle:>10,.2f} {unit:<8} ({min(values):,.2f} to {max(values):,.2f})"
