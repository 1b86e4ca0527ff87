"""Row committed → frame received, beside what Postgres itself needs to notify a bare listener."""

import asyncio
import statistics
import time

import aiohttp
import asyncpg

from bench.parts import hub, row

NOTES = 500
PAUSE = 0.004  # seconds between notes: an idle hub


async def run() -> None:
    """Print the table. Each note is heard by both, so that both see the same machine."""
    async with hub() as (address, url, _), aiohttp.ClientSession() as http:
        bare = await asyncpg.connect(url)
        writer = await asyncpg.connect(url)
        heard: asyncio.Queue[float] = asyncio.Queue()
        await bare.add_listener("channel_note", lambda *_: heard.put_nowait(time.perf_counter()))
        async with http.ws_connect(address + "/ws") as socket:
            await socket.receive()
            bare_ms, hub_ms, above_ms = [], [], []
            for number in range(NOTES):
                start = time.perf_counter()
                insert = asyncio.ensure_future(
                    writer.execute("insert into note (username, body) values ('gb', $1)", str(number))
                )
                message = await socket.receive_json()
                at_socket = time.perf_counter()
                assert message["body"] == str(number)
                at_listener = await heard.get()
                await insert
                bare_ms.append((at_listener - start) * 1e3)
                hub_ms.append((at_socket - start) * 1e3)
                above_ms.append((at_socket - at_listener) * 1e3)
                await asyncio.sleep(PAUSE)
        await bare.close()
        await writer.close()
    print(f"Delay of a single note, idle hub, {NOTES} notes (median, range)")
    print(row("INSERT → bare asyncpg listener", bare_ms, "ms"))
    print(row("INSERT → WebSocket frame", hub_ms, "ms"))
    print(row("the hub's part", above_ms, "ms"))
    print(f"  p99 of the hub's part: {statistics.quantiles(above_ms, n=100)[98]:.2f} ms")
