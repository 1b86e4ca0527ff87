"""The Python library against real hubs: hub.connect follows, publishes and survives."""

import asyncio
import contextlib
import signal

import asyncpg
import pytest

import hub
from hub.client.connection import Connection
from hub.client.events import Accepted, Interrupted
from hub.errors import ClosedError, RejectedError
from hub.protocol import CaughtUp, Note, Reset
from tests.programs import free_port, hub_process

INSERT = "insert into note (username, body) values ('gb', $1)"


async def next_of(notes: Connection, kind: type) -> object:
    """The next client event of a kind."""
    async with asyncio.timeout(15):
        async for each in notes:
            if isinstance(each, kind):
                return each
    raise AssertionError("the iterator ended")


async def test_follow_and_publish(start_hub, database: asyncpg.Connection) -> None:
    """A published note is awaited until it is committed, and comes to the publisher as to all others."""
    async with start_hub() as (_, address), hub.connect(address) as notes:
        assert await next_of(notes, CaughtUp)
        accepted = await notes.publish("gb", "from Python")
        note = await next_of(notes, Note)
        assert (note.rowid, note.seq, note.body) == (accepted.rowid, accepted.seq, "from Python")
        assert await database.fetchval("select body from note where rowid = $1", accepted.rowid) == "from Python"


async def test_rejected(start_hub) -> None:
    """A note that breaks the rules raises the hub's own words."""
    async with start_hub() as (_, address), hub.connect(address) as notes:
        with pytest.raises(RejectedError, match="at most 140 characters, not 141"):
            await notes.publish("gb", "x" * 141)


async def test_closed_for_good(start_hub) -> None:
    """A hub that refuses the address ends the iterator and every publish that waits."""
    async with start_hub(max_topics=1) as (_, address), hub.connect(address, topics=["a", "b"]) as notes:
        with pytest.raises(ClosedError, match="At most 1 topic"):
            await next_of(notes, Note)
        with pytest.raises(ClosedError):
            await notes.publish("gb", "never")


@pytest.mark.parametrize("where", ["gopher:x", "{hub}/nothing"])
async def test_no_hub_there(start_hub, where: str) -> None:
    """An address at which no hub can ever be ends the attempts."""
    async with start_hub() as (_, address), hub.connect(where.format(hub=address)) as notes:
        with pytest.raises(ClosedError, match=r"no address of a hub|is no hub"):
            await next_of(notes, Note)


async def test_cursor_of_what_was_read(start_hub, database: asyncpg.Connection) -> None:
    """The cursor is that of the events that were handed out, however much more has been received."""
    async with start_hub() as (_, address), hub.connect(address, after=0) as notes:
        await next_of(notes, CaughtUp)
        for number in range(5):
            await database.execute(INSERT, str(number))
        first = await next_of(notes, Note)
        async with asyncio.timeout(10):
            while notes.client.cursor == first.seq:
                await asyncio.sleep(0)
        assert notes.cursor == first.seq


async def test_subscribe_with_a_past(start_hub, database: asyncpg.Connection) -> None:
    """A topic that is added later can begin in the past."""
    await database.execute("insert into note (username, body, topic) values ('gb', 'old', 'ops')")
    async with start_hub() as (_, address), hub.connect(address) as notes:
        await next_of(notes, CaughtUp)
        await notes.subscribe("ops", after=0)
        assert (await next_of(notes, Note)).body == "old"
        await next_of(notes, CaughtUp)
        await notes.unsubscribe("ops")
        await notes.publish("gb", "unseen", topic="ops")
        await notes.publish("gb", "seen")
        assert (await next_of(notes, Note)).body == "seen"


async def test_unknown_cursor(start_hub, database: asyncpg.Connection) -> None:
    """A cursor of another database brings a reset, then the newest notes."""
    for number in range(5):
        await database.execute(INSERT, str(number))
    async with start_hub() as (_, address), hub.connect(address, after=12345, last=2) as notes:
        reset = await next_of(notes, Reset)
        assert reset.snapshot
        assert [(await next_of(notes, Note)).body for _ in range(2)] == ["3", "4"]
        await next_of(notes, CaughtUp)


async def test_killed_hub(url: str, database: asyncpg.Connection) -> None:
    """Through kills of the hub a follower misses nothing and a publisher's notes are saved once each."""
    port = free_port()
    async with (
        contextlib.AsyncExitStack() as hubs,
        hub_process(url, port) as first,
        hub.connect(first.address) as notes,
    ):
        sending = asyncio.gather(*(notes.publish("gb", f"note {number}") for number in range(300)))
        seen: list[str] = []
        interruptions, second = 0, None
        async with asyncio.timeout(15):
            async for each in notes:
                if isinstance(each, Note):
                    seen.append(each.body)
                interruptions += isinstance(each, Interrupted)
                if seen and not second:
                    await first.end(signal.SIGKILL)
                    await database.execute(INSERT, "meanwhile")
                    second = await hubs.enter_async_context(hub_process(url, port))
                    assert second.address == first.address
                if len(seen) == 301:
                    break
        assert interruptions and len(set(seen)) == 301
        accepted: list[Accepted] = await sending
    saved = await database.fetch("select rowid, body from note order by rowid")
    assert [row["body"] for row in saved] == seen
    assert {each.rowid for each in accepted} <= {row["rowid"] for row in saved}
