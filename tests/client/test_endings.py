"""Whatever a hub sends or however it fails, a user of hub.connect is told: nobody waits for ever."""

import asyncio
import itertools
import logging
import re
import signal
import sys
from pathlib import Path

import asyncpg
import pytest

import hub
from hub.client import connection
from hub.client.events import Interrupted
from hub.errors import ClosedError, Unavailable, UnreachableError
from hub.protocol import INVALID, Ack, CaughtUp, Error, Note, Status
from hub.protocol.codec import encode
from hub.server.commands import decode
from tests.client.scripted import Socket, deaf, note, says, scripted, welcome
from tests.client.test_connection import next_of
from tests.programs import ROOT, free_port, program
from tests.proxy import proxied

README = ROOT / "README.md"


@pytest.fixture(autouse=True)
async def patience():
    """Whoever waits for ever fails within seconds."""
    async with asyncio.timeout(10):
        yield


async def test_newer_hub() -> None:
    """Messages and fields of a later version are passed over."""
    later = note(2)[:-1] + ',"reactions":{"👍":3}}'
    lines = (welcome(1, "lobby"), '{"type":"row","seq":2,"row":{}}', later, '{"seq":3,"type":"typing"}', note(3))
    async with scripted(says(*lines)) as address, hub.connect(address) as notes:
        assert [(await next_of(notes, Note)).seq for _ in range(2)] == [2, 3]


async def test_malformed_message() -> None:
    """After a message that cannot be read the client connects again, says why, and misses nothing."""
    broken = says(welcome(1, "lobby"), '{"type":"note","seq":"two"}', note(3))
    whole = says(welcome(3, "lobby"), note(2), note(3))
    async with scripted(broken, whole) as address, hub.connect(address) as notes:
        interrupted = await next_of(notes, Interrupted)
        assert interrupted.code == INVALID and "no message of notes.v1" in interrupted.reason
        assert [(await next_of(notes, Note)).seq for _ in range(2)] == [2, 3]


async def test_failure_of_the_client(caplog: pytest.LogCaptureFixture) -> None:
    """An error in the client itself reaches all that wait, and whoever asks later."""
    async with scripted(says(welcome(1))) as address, hub.connect(address, topics=[]) as notes:
        await next_of(notes, CaughtUp)
        publishing = asyncio.ensure_future(notes.publish("gb", "never acknowledged"))
        waiting = asyncio.ensure_future(anext(notes))
        await asyncio.sleep(0)

        def fail(code: int, reason: str = "") -> None:
            raise ZeroDivisionError("a bug")

        notes.client.closed = fail
        await notes._socket.close()
        for each in (publishing, waiting, anext(notes), notes.publish("gb", "x"), notes.subscribe("x")):
            with pytest.raises(ZeroDivisionError, match="a bug"):
                await each
    assert "has failed" in caplog.text


async def test_closed_for_good_is_told_each_time(start_hub) -> None:
    """After the end every call raises the hub's reason, as often as one asks."""
    async with start_hub(max_topics=1) as (_, address), hub.connect(address, topics=["a", "b"]) as notes:
        asking = (lambda: anext(notes), lambda: notes.post("gb", "x"), lambda: notes.publish("gb", "x"))
        topics = (lambda: notes.subscribe("c"), lambda: notes.unsubscribe("a"))
        with pytest.raises(ClosedError, match="At most 1 topic"):
            await next_of(notes, Note)
        for ask in (*asking, *topics):
            with pytest.raises(ClosedError, match="At most 1 topic"):
                await ask()
        assert not notes.client.outbox


async def test_end_of_the_context(start_hub) -> None:
    """What still waits when the context ends is told so."""
    async with scripted(says(welcome(1))) as address:
        async with hub.connect(address, topics=[]) as notes:
            await next_of(notes, CaughtUp)
            waiting = [asyncio.ensure_future(notes.publish("gb", "x")), asyncio.ensure_future(anext(notes))]
            await asyncio.sleep(0)
        for each in waiting:
            with pytest.raises(ClosedError, match="context"):
                await each


async def test_no_retry() -> None:
    """Without `retry` the first failure is raised at once, and a later one by the iterator."""
    with pytest.raises(UnreachableError, match=r"no hub answers at .* \(Connection refused\)"):
        async with hub.connect(f"http://127.0.0.1:{free_port()}", retry=False):
            raise AssertionError("the context must not begin")

    async def leave(socket: Socket) -> None:
        await socket.send_str(welcome(1))
        await socket.close(code=1001, message=b"bye")

    async with scripted(leave) as address, hub.connect(address, topics=[], retry=False) as notes:
        with pytest.raises(UnreachableError, match="bye"):
            await next_of(notes, Note)


async def test_connect_timeout(start_hub) -> None:
    """The first welcome is waited for so long and no longer; afterwards it matters no more."""
    with pytest.raises(UnreachableError, match="no hub answers"):
        async with hub.connect(f"http://127.0.0.1:{free_port()}", connect_timeout=0.1):
            raise AssertionError("the context must not begin")
    async with deaf() as address:
        with pytest.raises(UnreachableError, match="no hub answers"):
            async with hub.connect(address, connect_timeout=0.1):
                raise AssertionError("the context must not begin")
    async with start_hub(max_topics=1) as (_, address):
        async with hub.connect(address, connect_timeout=5) as notes:
            assert (await notes.publish("gb", "x")).rowid
        with pytest.raises(ClosedError, match="At most 1 topic"):
            async with hub.connect(address, ["a", "b"], connect_timeout=5):
                raise AssertionError("the context must not begin")


async def test_database_away(start_hub, url: str) -> None:
    """A hub without its database is told from a hub that cannot be reached: by the error, and by the events."""
    async with proxied(url) as proxy, start_hub(proxy.url) as (_, address), hub.connect(address) as notes:
        await next_of(notes, CaughtUp)
        proxy.refuse = True
        proxy.cut()
        assert await next_of(notes, Status) == Status(False)
        with pytest.raises(Unavailable, match="answers, but its database can't be reached"):
            async with hub.connect(address, connect_timeout=0.2):
                raise AssertionError("the context must not begin")
        proxy.heal()
        assert await next_of(notes, Status) == Status(True)


async def test_failed_attempts_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A warning says where no hub is, why, and when the client tries again."""
    address = f"http://127.0.0.1:{free_port()}"
    async with hub.connect(address) as notes:
        await next_of(notes, Interrupted)
    [record, *_] = [each for each in caplog.records if each.name == "hub.client"]
    assert record.levelno == logging.WARNING
    assert address in record.getMessage() and "next attempt in" in record.getMessage()


async def test_retry_on_a_busy_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """A note that was refused for the moment is sent again when it is due, however much arrives meanwhile."""
    monkeypatch.setattr(connection, "RETRY", 0.1)
    times: list[float] = []

    async def busy(socket: Socket) -> None:
        await socket.send_str(welcome(1, "lobby"))
        sending = asyncio.ensure_future(flood(socket))
        async for message in socket:
            times.append(asyncio.get_running_loop().time())
            id = decode(message.data.encode()).id
            later = Error("unavailable", "", "", temporary=True, id=id)
            await socket.send_str(encode(Ack(id, 5, 1) if len(times) == 3 else later).decode())
        sending.cancel()

    async def flood(socket: Socket) -> None:
        for seq in range(10, 10**6):
            await socket.send_str(note(seq))
            await asyncio.sleep(0.005)

    async with scripted(busy) as address, hub.connect(address) as notes:
        await next_of(notes, CaughtUp)
        accepted = await asyncio.wait_for(notes.publish("gb", "x"), 2)
        assert (accepted.seq, accepted.rowid) == (5, 1)
    assert all(0.09 < after - before < 0.5 for before, after in itertools.pairwise(times)) and len(times) == 3


async def test_publisher_that_does_not_iterate(
    start_hub, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who only publishes need not read events: no number of notes fills the client."""
    monkeypatch.setattr(connection, "MAX_UNREAD", 10)
    async with start_hub() as (_, address), hub.connect(address, topics=[]) as notes:
        for number in range(30):
            await asyncio.wait_for(notes.publish("gb", str(number)), 2)
        assert await database.fetchval("select count(*) from note") == 30


async def test_home_of_a_note(start_hub, database: asyncpg.Connection) -> None:
    """A note without a topic goes to the user's first topic, not to the first of the alphabet."""
    async with start_hub() as (_, address), hub.connect(address, topics=["news", "alerts"]) as notes:
        accepted = await notes.publish("gb", "x")
        assert await database.fetchval("select topic from note where rowid = $1", accepted.rowid) == "news"


async def test_example_of_the_readme(start_hub, tmp_path: Path) -> None:
    """The README's program ends without a word when one presses Ctrl-C."""
    [code] = [
        block for block in re.findall(r"```python\n(.*?)```", README.read_text(), re.S) if "hub.connect(" in block
    ]
    async with start_hub() as (_, address):
        (tmp_path / "follow.py").write_text(code.replace("http://127.0.0.1:8080", address))
        async with program(sys.executable, tmp_path / "follow.py", stderr_too=True) as follow:
            assert await follow.line() == "#lobby gb: hello from Python"
            follow.process.send_signal(signal.SIGINT)
            assert await follow.rest() == "" and await follow.process.wait() == 0
