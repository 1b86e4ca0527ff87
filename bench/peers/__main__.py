"""Tries every peer: ``python -m bench.peers``. Its clients must receive every note once, in order.

Owns the three kinds of client. What they have to receive is what a bare listener on the same database hears.
Ends with status 1 if a peer fails, is missing, or does not even start.
"""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine

import aiohttp
import asyncpg

from bench.parts import embedded_database
from bench.peers import ALL, Peer, prepare
from bench.systems import System, running

CLIENTS = 3
SINGLE, TOGETHER = 50, 100
SECONDS = 20.0
Next = Callable[[], Coroutine[None, None, str]]


@contextlib.asynccontextmanager
async def client(http: aiohttp.ClientSession, peer: Peer) -> AsyncIterator[Next]:
    """A client that will receive every note from now on: gives the payload of the next."""
    if peer.kind == "lines":
        async with http.get(peer.path) as response:
            assert await response.content.readline() == b"\n"

            async def next_line() -> str:
                return (await response.content.readline()).decode().rstrip("\n")

            yield next_line
        return
    async with http.ws_connect(peer.path, compress=15) as socket:
        assert not socket.compress, "compression is on"
        if peer.kind == "ws":
            yield socket.receive_str
            return
        assert (await socket.receive_str()).startswith("0{")
        await socket.send_str("40")
        assert (await socket.receive_str()).startswith("40{")

        async def next_event() -> str:
            while (text := await socket.receive_str()) == "2":
                await socket.send_str("3")
            name, note = json.loads(text.removeprefix("42"))
            assert name == "note"
            return json.dumps(note)

        yield next_event


async def check(peer: Peer, url: str, database: asyncpg.Connection) -> None:
    """Raises if the clients of a peer do not receive exactly what was notified."""
    heard: list[str] = []

    def on_note(connection: object, pid: int, channel: str, payload: object) -> None:
        heard.append(str(payload))

    await database.add_listener("channel_note", on_note)
    async with running(System(*peer), url, database) as started:
        address = f"http://127.0.0.1:{started.port}"
        async with aiohttp.ClientSession(address) as http, contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(client(http, peer)) for _ in range(CLIENTS)]
            for number in range(SINGLE):
                await database.execute("insert into note (username, body) values ('gb', $1)", f"„{number}“")
            await database.execute(
                "insert into note (username, body) select 'gb', n::text from generate_series(1, $1) n", TOGETHER
            )
            for receive in clients:
                received = [await receive() for _ in range(SINGLE + TOGETHER)]
                expected = heard if peer.kind != "socket.io" else [json.dumps(json.loads(each)) for each in heard]
                if received != expected:
                    raise RuntimeError("a client received other notes, or in another order")
    await database.remove_listener("channel_note", on_note)


async def main() -> int:
    """How many peers are missing or failed."""
    peers = prepare()
    failed = len(ALL) - len(peers)
    async with embedded_database() as url:
        subprocess.run([sys.executable, "-m", "hub", "migrate", "--database-url", url], check=True, capture_output=True)
        for peer in peers:
            database = await asyncpg.connect(url)
            try:
                async with asyncio.timeout(SECONDS):
                    await check(peer, url, database)
                print(f"ok      {peer.name}", flush=True)
            except Exception as error:
                failed += 1
                print(f"failed  {peer.name}: {error!r}", flush=True)
            finally:
                await database.close()
    return failed


sys.exit(1 if asyncio.run(main()) else 0)
