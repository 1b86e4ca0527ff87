"""What the measurements share: a Postgres and a hub as processes of their own, rounds, tables."""

import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import NamedTuple

from hub import embedded


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
async def serving(url: str, *options: str) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """A hub on a database: its address and its process, which is ended with the block."""
    command = [sys.executable, "-m", "hub", "serve", "--port", "0", "--database-url", url, *options]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    assert process.stderr
    try:
        address = ""
        async with asyncio.timeout(30):
            while b'"listening"' not in (line := await process.stderr.readline()):
                if not line:
                    raise RuntimeError("the hub did not start")
                if b'"serving"' in line:
                    address = json.loads(line)["address"]
        yield address, process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


class RawClient(NamedTuple):
    """A WebSocket after its handshake, as bytes: a client library would be most of what is measured."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


@contextlib.asynccontextmanager
async def raw_client(address: str, path: str) -> AsyncIterator[RawClient]:
    """A connection that has received its welcome."""
    host, port = address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 24)
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    writer.write(f"GET {path} HTTP/1.1\r\nHost: hub\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{key}\r\n".encode())
    await reader.readuntil(b'"type":"welcome"')
    await reader.readuntil(b"}}")
    try:
        yield RawClient(reader, writer)
    finally:
        writer.close()


def masked(payload: bytes) -> bytes:
    """A client's text frame with a mask of zeros, which leaves the payload as it is (RFC 6455 §5.3)."""
    length = len(payload)
    size = bytes((0x80 | length,)) if length < 126 else b"\xfe" + length.to_bytes(2, "big")
    return b"\x81" + size + bytes(4) + payload


def row(label: str, values: Sequence[float], unit: str) -> str:
    """A line of a table: the median and the range."""
    middle = statistics.median(values)
    return f"  {label:<58} {middle:>10,.2f} {unit:<8} ({min(values):,.2f} to {max(values):,.2f})"
