"""Connections through which nothing comes any more, while new ones work, as behind a firewall that forgot them."""

import asyncio
import time

import asyncpg

from hub.protocol import Note, Welcome
from tests.conftest import connect
from tests.proxy import proxied

INSERT = "insert into note (username, body) values ('gb', $1)"


async def test_pool_is_stranded_too(start_hub, url: str, database: asyncpg.Connection) -> None:
    """The pool's connections are not waited for one by one: all is well again within 5 seconds."""
    async with proxied(url) as proxy, start_hub(proxy.url) as (_, address), connect(address) as client:
        await client.until(Welcome)
        proxy.strand()
        await database.execute(INSERT, "unheard")
        start = time.monotonic()
        assert (await client.until(Note)).body == "unheard"
        assert time.monotonic() - start < 5


async def test_stranded_while_it_proves_that_it_hears(start_hub, url: str) -> None:
    """A first connection that dies before it has heard anything is replaced; no pooler is blamed for it."""
    async with proxied(url) as proxy:
        drops = proxy._drops

        def strand_soon(body: bytes) -> bool:
            if b"hub_proof" not in body or proxy._stranded:
                return drops(body)
            asyncio.get_running_loop().call_later(0.05, proxy.strand)
            return True

        proxy._drops = strand_soon  # type: ignore[method-assign]
        async with start_hub(proxy.url) as (hub, _):
            assert hub.listener.reconnects == 1
