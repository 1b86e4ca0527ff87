"""What the workers of one hub tell each other: their counts, so that whichever is asked can answer for all.

Owns one Unix socket a worker in a folder of theirs. Whoever connects gets the worker's counts as
JSON and nothing else. It does not know what is counted.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec

from hub.server.metrics import Counts

TIMEOUT = 1.0  # seconds for a sibling to answer; one that is starting or ending is left out

_decode = msgspec.json.Decoder(Counts).decode


@contextlib.asynccontextmanager
async def telling(folder: Path, name: str, counts: Callable[[], Counts]) -> AsyncIterator[None]:
    """Answer the siblings meanwhile. A worker that replaces another takes over its name."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            writer.write(msgspec.json.encode(counts()))
            writer.close()
            await writer.wait_closed()

    server = await asyncio.start_unix_server(answer, folder / name)
    try:
        yield
    finally:
        server.close()


async def ask(folder: Path) -> dict[str, Counts]:
    """The counts of every worker that answers, by its name."""
    names = _names(folder)
    answers = await asyncio.gather(*(_ask(folder / name) for name in names))
    return {name: answer for name, answer in zip(names, answers, strict=True) if answer is not None}


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("*")]


async def _ask(path: Path) -> Counts | None:
    try:
        async with asyncio.timeout(TIMEOUT):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                return _decode(await reader.read())
            finally:
                writer.close()
    except (OSError, msgspec.DecodeError):  # TimeoutError is an OSError
        return None
