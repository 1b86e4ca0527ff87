"""The load of the measurements counts exactly: real processes, three clients of the limit."""

import contextlib
from collections.abc import AsyncIterator

import pytest

from bench import native, systems
from bench.load import Count, Load, clients, now

try:
    native.program("load")
except native.NativeError as error:
    pytest.skip(str(error), allow_module_level=True)

CLIENTS = 3


@contextlib.asynccontextmanager
async def three() -> AsyncIterator[tuple[systems.Limit, Load]]:
    async with systems.limit() as limit, clients(limit.port, "/", "ws", CLIENTS) as load:
        await load.start()
        yield limit, load


async def counted(load: Load, deliveries: int) -> Count:
    """The count, once so many have arrived."""
    while (count := await load.count()).deliveries < deliveries:
        pass
    return count


async def test_each_delivery_is_counted_once_with_its_delay():
    """Bursts that one read returns in pieces count as single notes do; delays are those since the marks."""
    async with three() as (limit, load):
        await limit.publish([now()])
        await load.all_have(1)
        first = now()
        for number in range(20):  # more than a socket's buffer holds
            await limit.publish([first + 1000 * number + each for each in range(1000)])
        await load.all_have(20_001)
        count = await load.count()
        assert count.wrong(CLIENTS, 20_001) == ""
        assert (count.least, count.most, count.deliveries) == (20_001, 20_001, 3 * 20_001)
        assert 0 < count.p50 <= count.p99 <= count.p999 <= count.worst < now() - first + 1e9


async def test_a_lost_delivery_is_noticed():
    """One of three clients that does not get a note is one delivery lost."""
    async with three() as (limit, load):
        await limit.publish([now()], skip=1)
        await limit.publish([now()])
        assert (await counted(load, 5)).wrong(CLIENTS, 2) == "1 lost"


async def test_a_doubled_delivery_is_noticed():
    """The same note twice is no delivery, so it does not make up for one that is missing."""
    async with three() as (limit, load):
        first = now()
        await limit.publish([first])
        await limit.publish([first], skip=2)
        await limit.publish([now()])
        assert (await counted(load, 6)).wrong(CLIENTS, 2) == "1 doubled or out of order"


async def test_what_was_published_before_the_start_is_not_counted():
    """A run counts its own notes only."""
    async with three() as (limit, load):
        early = now()
        await load.start()
        await limit.publish([early])
        await limit.publish([now()])
        await load.all_have(1)
        assert (await load.count()).wrong(CLIENTS, 1) == ""
