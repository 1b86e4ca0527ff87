"""One client that sends as fast as it can and never reads: what it costs the hub while it is there, and afterwards."""

import asyncio
import os
import socket
import time
from urllib.parse import urlsplit

import asyncpg

from bench import usage
from bench.parts import embedded_database, masked, serving

SECONDS, LONG = 10.0, 60.0
HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
KINDS = {
    "empty binary frames": b"\x82\x80\0\0\0\0",
    "text that is no message": masked(b"x"),
    "pings of 125 bytes": b"\x89\xfd\0\0\0\0" + b"p" * 125,
    "history of 200 notes": masked(b'{"type":"history","limit":200}'),
    "subscribe from the first event": masked(b'{"type":"subscribe","topic":"lobby","after":0}'),
    "publish": masked(b'{"username":"gb","body":"hello"}'),
}
INSERT = "insert into note (username, body) select 'gb', n::text from generate_series(1, 1000) n"


async def run(full: bool = False) -> None:
    """Print the table."""
    seconds = LONG if full else SECONDS
    print(f"\nOne client that never reads and sends for {seconds:.0f} s: growth of the hub's memory, in MB")
    print(f"  {'':<36}{'sent':>10}{'at most':>10}{'after it left':>15}")
    for name, frame in KINDS.items():
        # It would be closed as stalled otherwise; here it stays to the end.
        async with embedded_database() as url, serving(url, "--stall-timeout", "600") as (address, process):
            database = await asyncpg.connect(url)
            await database.execute(INSERT)
            await database.close()
            await _flood(address, frame, process.pid, 1.0)  # what a hub that has been used for a while holds anyway
            before = usage.memory(process.pid).rss
            sent, most = await _flood(address, frame, process.pid, seconds)
            await asyncio.sleep(1)
            after = usage.memory(process.pid).rss
            print(f"  {name:<36}{_mb(sent):>10}{_mb(most - before):>10}{_mb(after - before):>15}", flush=True)


def _mb(size: int) -> str:
    return f"{size / (1 << 20):,.1f}"


async def _flood(address: str, frame: bytes, pid: int, seconds: float) -> tuple[int, int]:
    """Send the frame again and again: bytes sent, and the most that the hub held meanwhile."""
    where, sent, most, until = urlsplit(address), 0, 0, time.monotonic() + seconds
    data = frame * max(1, (1 << 16) // len(frame))
    with socket.create_connection((where.hostname, where.port)) as client:
        client.sendall(HANDSHAKE % where.netloc.encode())
        client.setblocking(False)
        while time.monotonic() < until:
            try:
                sent += client.send(data[sent % len(frame) :])
            except BlockingIOError:
                await asyncio.sleep(0.02)
            else:
                os.sched_yield()
            most = max(most, usage.memory(pid).rss)
    return sent, most
