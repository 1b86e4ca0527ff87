"""Row committed → frame received, beside what Postgres itself needs to notify a bare listener."""

import asyncio
import statistics
import time

import aiohttp
import asyncpg

from bench.parts import hub, row

NOTES = 1000
PAUSE = 0.004  # seconds between notes: an idle hub


async def run(full: bool = False) -> None:
    """Print the table. Each note is heard by both, so that both see the same machine."""
    notes = NOTES * (10 if full else 1)
    async with hub() as (address, url, _), aiohttp.ClientSession() as http:
        bare = await asyncpg.connect(url)
        writer = await asyncpg.connect(url)
        heard: asyncio.Queue[float] = asyncio.Queue()
        await bare.add_listener("channel_note", lambda *_: heard.put_nowait(time.perf_counter()))
        async with http.ws_connect(address + "/ws") as socket:
            await socket.receive()
            bare_ms, hub_ms, above_ms = [], [], []
            for number in range(notes):
                start = time.perf_counter()
                insert = asyncio.ensure_future(
                    writer.execute("insert into note (username, body) values ('gb', $1)", str(number))
                )
                message = await socket.receive_json()
                at_socket = time.perf_counter()
                assert message["body"] == str(number), "a note was lost"
                at_listener = await heard.get()
                await insert
                bare_ms.append((at_listener - start) * 1e3)
                hub_ms.append((at_socket - start) * 1e3)
                above_ms.append((at_socket - at_listener) * 1e3)
                await asyncio.sleep(PAUSE)
        await bare.close()
        await writer.close()
    print(f"\nDelay of a single note, idle hub, {notes:,} notes (median, range)")
    for label, values in (
        ("INSERT → bare asyncpg listener", bare_ms),
        ("INSERT → WebSocket frame", hub_ms),
        ("the hub's part", above_ms),
    ):
        print(row(label, values, "ms"))
        cuts = statistics.quantiles(values, n=1000)
        print(f"    p99 {cuts[989]:.2f} ms, p99.9 {cuts[998]:.2f} ms")
