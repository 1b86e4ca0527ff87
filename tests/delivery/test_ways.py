"""How clients are written to: what is counted, and what is said when the fast way is shut."""

import asyncio
import contextlib
import re
from collections.abc import Callable

import aiohttp
import pytest
import uvloop
from structlog.testing import capture_logs

from hub.delivery import ways
from hub.delivery.fanout import WORTH_IT
from hub.delivery.io_uring import Uring
from hub.delivery.ways import WAYS
from hub.protocol import Welcome
from tests.conftest import connect


def io_uring() -> bool:
    try:
        Uring().close()
    except OSError:
        return False
    return True


async def counted(address: str) -> dict[str, int]:
    """The clients by the way in which they are written to, as /metrics has them."""
    async with aiohttp.ClientSession() as http, http.get(address + "/metrics") as reply:
        found = re.findall(r"^hub_clients_(\w+) (\S+)$", await reply.text(), re.MULTILINE)
    return {way: int(float(value)) for way, value in found}


async def test_counts(start_hub) -> None:
    """Few clients are written to one by one, many in one call; one that holds unsent bytes, through its transport."""

    async def join(count: int) -> None:
        for client in [await stack.enter_async_context(connect(address)) for _ in range(count)]:
            await client.until(Welcome)

    async with start_hub() as (hub, address), contextlib.AsyncExitStack() as stack:
        await join(3)
        assert await counted(address) == {"io_uring": 0, "direct": 3, "transport": 0}
        await join(WORTH_IT)
        many = "io_uring" if io_uring() else "direct"
        assert await counted(address) == {way: (WORTH_IT + 3) * (way == many) for way in WAYS}
        outgoing = next(iter(hub.broadcaster.everyone)).outgoing
        outgoing.fanout.hold(outgoing)
        assert await counted(address) == {way: (WORTH_IT + 2) * (way == many) for way in WAYS} | {"transport": 1}


@pytest.mark.parametrize("new_loop", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_the_loops_write_at_once(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """The event loops that the hub runs on pass on what is written while it is written."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(ways.writes_at_once())


async def test_said_at_the_start(start_hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log has the way at the start, and a warning where the event loop keeps what is written."""
    for at_once, event, level in ((True, "delivery", "info"), (False, "slow_delivery", "warning")):

        async def answer(at_once: bool = at_once) -> bool:
            return at_once

        monkeypatch.setattr("hub.server.app.writes_at_once", answer)
        with capture_logs() as logs:
            async with start_hub():
                pass
        assert [entry["log_level"] for entry in logs if entry["event"] == event] == [level]
