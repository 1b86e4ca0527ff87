"""The pool: how long a statement waits for a connection, and how many may."""

import asyncio

import pytest

from hub.errors import Unavailable
from hub.postgres import pool


async def test_too_many_wait(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only so many statements wait for a connection, and none for longer than its answer may take."""
    monkeypatch.setattr(pool, "MAX_WAITING", 1)
    monkeypatch.setattr(pool, "TIMEOUT", 0.3)
    made = pool.Pool(url, 1)
    await made.open()
    held = await made._pool.acquire(timeout=5)
    waiting = asyncio.ensure_future(made.fetch("select 1"))
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="wait for a connection already"):
        await made.fetch("select 1")
    with pytest.raises(Unavailable, match="no connection to the database was free"):
        await waiting
    await made._pool.release(held)
    assert [tuple(row) for row in await made.fetch("select 1")] == [(1,)]
    await made.close()
