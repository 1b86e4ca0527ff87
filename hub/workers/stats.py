"""The counts that workers of one hub give each other, so that each can answer ``/metrics`` for all of them.

Owns one Unix socket for each worker, in a folder that the workers share. A worker writes its counts as JSON to whoever
connects, and reads nothing. This module does not know what is counted.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import msgspec

from hub.server.metrics import Counting, Counts

TIMEOUT = 1.0  # seconds that a worker has to answer; one that is starting or ending may not

_decode = msgspec.json.Decoder(Counts).decode


@contextlib.asynccontextmanager
async def shared(folder: Path, name: str, own: Callable[[], Counts]) -> AsyncIterator[Counting]:
    """Serve this worker's counts and yield a function that counts for all workers.

    `own` gives the counts of this worker, whose name is `name`; `folder` is where the workers' sockets are.
    """

    async def counting() -> Mapping[str, Counts]:
        return await collect_stats(folder) | {name: own()}

    async with serve_stats(folder, name, own):
        yield counting


@contextlib.asynccontextmanager
async def serve_stats(folder: Path, name: str, own: Callable[[], Counts]) -> AsyncIterator[None]:
    """Serve the counts of `own` on the socket `name`. A worker that replaces another takes over its socket's name."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            writer.write(msgspec.json.encode(own()))
            writer.close()
            await writer.wait_closed()

    server = await asyncio.start_unix_server(answer, folder / name)
    try:
        yield
    finally:
        server.close()


async def collect_stats(folder: Path) -> dict[str, Counts]:
    """The counts of every worker that answers in time, by its name."""
    names = _names(folder)
    answers = await asyncio.gather(*(_fetch(folder / name) for name in names))
    return {name: answer for name, answer in zip(names, answers, strict=True) if answer is not None}


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("*")]


async def _fetch(path: Path) -> Counts | None:
    try:
        async with asyncio.timeout(TIMEOUT):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                return _decode(await reader.read())
            finally:
                writer.close()
    except (OSError, msgspec.DecodeError):  # TimeoutError is an OSError
        return None
