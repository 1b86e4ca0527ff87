"""The writer: order, batches, and one note's trouble that is not its neighbours'."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import asyncpg
import pytest

from hub.errors import CommandError, Held, Refused, Unavailable
from hub.feed.ports import Draft, Placed
from hub.feed.writer import CLOSING, DROPPED, Writer
from hub.postgres.publisher import Publisher
from hub.postgres.store import Store
from hub.protocol import Ack, Error, Publish
from tests.conftest import connect


def draft(body: str) -> Draft:
    return Draft("lobby", "gb", body, None, None)


class FakeTarget:
    """Takes notes when told to, and does with each what its body says."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.apart: list[list[str]] = []
        self.saved: list[str] = []
        self.busy = True
        self.gate = asyncio.Event()
        self.gate.set()

    async def publish(self, drafts: Sequence[Draft], apart: bool = False) -> list[Placed | CommandError | None]:
        bodies = [draft.body for draft in drafts]
        (self.apart if apart else self.batches).append(bodies)
        await self.gate.wait()
        if "unavailable" in bodies:
            raise Unavailable("gone")
        if "broken" in bodies:
            raise ZeroDivisionError
        failures = {"refused": Refused("no"), "held": Held("busy") if self.busy else None, "dropped": None}
        start = len(self.saved)
        kept = [body for body in bodies if body not in failures or (body == "held" and not self.busy)]
        self.saved += kept
        places = iter(range(start + 1, start + 1 + len(kept)))
        return [Placed(at := next(places), at) if body in kept else failures[body] for body in bodies]


@asynccontextmanager
async def running(target: FakeTarget | Store, max_batch: int = 100) -> AsyncIterator[Writer]:
    writer = Writer(target, max_batch)
    task = asyncio.create_task(writer.run())
    try:
        async with asyncio.timeout(10):
            yield writer
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, ExceptionGroup):
            await task


class Answers:
    """The answers in the order of their coming, each with the body of its note."""

    def __init__(self) -> None:
        self.came: list[tuple[str, Placed | Error]] = []

    def of(self, body: str) -> Callable[[Placed | Error], None]:
        return lambda result: self.came.append((body, result))

    def submit(self, writer: Writer, *bodies: str) -> None:
        for body in bodies:
            writer.submit(draft(body), self.of(body))

    async def all(self, number: int) -> list[tuple[str, Placed | Error]]:
        while len(self.came) < number:
            await asyncio.sleep(0)
        return self.came


async def test_answers_in_order() -> None:
    """The answers come in the order of the submissions, each with the place of its own note."""
    target, answers = FakeTarget(), Answers()
    async with running(target, max_batch=7) as writer:
        bodies = [str(number) for number in range(100)]
        answers.submit(writer, *bodies)
        came = await answers.all(100)
    assert came == [(body, Placed(at, at)) for at, body in enumerate(bodies, 1)]
    assert target.saved == bodies and max(map(len, target.batches)) == 7


async def test_a_batch_gathers_while_one_commits() -> None:
    """A lone note goes at once; what is submitted meanwhile goes together, in one further statement."""
    target, answers = FakeTarget(), Answers()
    target.gate.clear()
    async with running(target) as writer:
        answers.submit(writer, "first")
        while not target.batches:
            await asyncio.sleep(0)
        answers.submit(writer, "a", "b")
        await asyncio.sleep(0)
        answers.submit(writer, "c")
        assert answers.came == []
        target.gate.set()
        await answers.all(4)
    assert target.batches == [["first"], ["a", "b", "c"]] and (writer.batches, writer.written) == (2, 4)


@pytest.mark.parametrize("at", range(9))
async def test_one_refused_note_fails_alone(at: int) -> None:
    """Wherever in the batch it stands: its neighbours are saved, and all are answered in order."""
    target, answers = FakeTarget(), Answers()
    bodies = ["a", "b", "c", "d", "e", "f", "g", "h"]
    bodies.insert(at, "refused")
    async with running(target) as writer:
        answers.submit(writer, *bodies)
        came = await answers.all(9)
    assert [body for body, _ in came] == bodies
    assert [body for body, result in came if isinstance(result, Error)] == ["refused"]
    assert target.saved == [body for body in bodies if body != "refused"] and len(target.batches) == 1


async def test_unavailable() -> None:
    """While the database is away every note of the batch gets a temporary error, and the next batch is tried."""
    target, answers = FakeTarget(), Answers()
    async with running(target) as writer:
        answers.submit(writer, "a", "unavailable")
        came = await answers.all(2)
        assert all(isinstance(result, Error) and result.temporary for _, result in came)
        assert await writer.publish(draft("b")) == Placed(1, 1)


async def test_dropped() -> None:
    """A note that the database did not keep is answered with an error, not with an ack."""
    answers = Answers()
    async with running(FakeTarget()) as writer:
        answers.submit(writer, "a", "dropped", "b")
        assert [result for _, result in await answers.all(3)] == [Placed(1, 1), DROPPED, Placed(2, 2)]


async def test_held_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A note that another transaction holds up keeps nobody waiting; it is tried apart and answered when saved."""
    monkeypatch.setattr("hub.feed.writer.HELD_RETRY", 0.001)
    target, answers = FakeTarget(), Answers()
    async with running(target) as writer:
        answers.submit(writer, "a", "held", "b")
        assert await answers.all(2) == [("a", Placed(1, 1)), ("b", Placed(2, 2))]
        assert await writer.publish(draft("c")) == Placed(3, 3)
        while len(target.apart) < 3:
            await asyncio.sleep(0)
        target.busy = False
        assert (await answers.all(3))[2] == ("held", Placed(4, 4))
        assert target.batches == [["a", "held", "b"], ["c"]] and set(map(tuple, target.apart)) == {("held",)}
        await writer.close()


async def test_held_up_for_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only so many notes are tried apart, and only for so long; then the answer is a temporary error."""
    monkeypatch.setattr("hub.feed.writer.HELD_RETRY", 0.001)
    monkeypatch.setattr("hub.feed.writer.HELD_FOR", 0.01)
    monkeypatch.setattr("hub.feed.writer.MAX_HELD", 3)
    target, answers = FakeTarget(), Answers()
    async with running(target) as writer:
        answers.submit(writer, *["held"] * 5)
        assert len(await answers.all(2)) == 2
        results = [result for _, result in await answers.all(5)]
        assert all(isinstance(result, Error) and result.temporary and "holds" in result.message for result in results)
        assert {len(batch) for batch in target.apart} == {3}


async def test_closing_does_not_wait_for_others() -> None:
    """When the hub stops, what is held up is answered with a temporary error after one more try."""
    answers = Answers()
    async with running(FakeTarget()) as writer:
        answers.submit(writer, "held")
        while not writer._held:
            await asyncio.sleep(0)
        await writer.close()
        assert [isinstance(result, Error) and result.temporary for _, result in answers.came] == [True]


async def test_publish_raises() -> None:
    """Who waits for one note gets its place, or the error as an exception."""
    async with running(FakeTarget()) as writer:
        assert await writer.publish(draft("a")) == Placed(1, 1)
        with pytest.raises(CommandError) as caught:
            await writer.publish(draft("refused"))
        assert caught.value.error.code == "refused"


async def test_close() -> None:
    """Closing finishes what was submitted and refuses what comes later; nothing is left unanswered."""
    target, answers = FakeTarget(), Answers()
    target.gate.clear()
    async with running(target, max_batch=1) as writer:
        answers.submit(writer, "a", "b")
        closing = asyncio.create_task(writer.close())
        await asyncio.sleep(0)
        answers.submit(writer, "late")
        assert answers.came == [("late", CLOSING)] and not closing.done()
        target.gate.set()
        await closing
        assert [body for body, _ in answers.came] == ["late", "a", "b"]
        await writer.close()


async def test_a_failure_of_the_writer_itself() -> None:
    """What nobody foresaw ends the writer, and every note, written or waiting, is answered with a temporary error."""
    target, answers = FakeTarget(), Answers()
    async with running(target, max_batch=1) as writer:
        answers.submit(writer, "broken", "waiting")
        came = await answers.all(2)
        assert all(isinstance(result, Error) and result.temporary for _, result in came)
        answers.submit(writer, "late")
        assert came[-1] == ("late", CLOSING)


async def test_a_waiter_that_gave_up() -> None:
    """Who stops waiting for a note disturbs nobody else."""
    target = FakeTarget()
    target.gate.clear()
    async with running(target) as writer:
        impatient = asyncio.create_task(writer.publish(draft("a")))
        patient = asyncio.create_task(writer.publish(draft("b")))
        await asyncio.sleep(0)
        impatient.cancel()
        target.gate.set()
        assert await patient == Placed(2, 2)


async def test_a_constraint_of_the_owner(url: str, database: asyncpg.Connection) -> None:
    """On Postgres: one row against a CHECK fails with its words, the other notes of the batch are in the table."""
    await database.execute("alter table note add constraint polite check (body <> 'rude')")
    store, answers = Store(url, 2), Answers()
    await store.open()
    bodies = [f"n{number}" for number in range(40)] + ["rude"] + [f"m{number}" for number in range(40)]
    publisher = Publisher(store)
    async with running(publisher) as writer:
        answers.submit(writer, *bodies)
        came = await answers.all(81)
    await publisher.close()
    await store.close()
    (refused,) = (result for _, result in came if isinstance(result, Error))
    assert refused.code == "refused" and "polite" in refused.message and came[40] == ("rude", refused)
    places = [result for _, result in came if isinstance(result, Placed)]
    assert places == sorted(places, key=lambda place: place.seq) and len(set(places)) == 80
    rows = await database.fetch("select body from note order by rowid")
    assert [row["body"] for row in rows] == [body for body in bodies if body != "rude"]


async def test_pipelined_notes(start_hub, database: asyncpg.Connection) -> None:
    """1,000 notes over one WebSocket are 1,000 acks in order, in far fewer statements than notes."""
    async with start_hub() as (hub, address), connect(address, "/ws?topic=") as client:
        for number in range(1000):
            await client.send(Publish("gb", f"note {number}", id=number))
        acks = [await client.until(Ack) for _ in range(1000)]
        assert hub.writer.written == 1000
    assert [ack.id for ack in acks] == list(range(1000))
    assert [ack.seq for ack in acks] == sorted({ack.seq for ack in acks})
    rows = await database.fetch("select rowid, body from note order by rowid")
    assert [(row["rowid"], row["body"]) for row in rows] == [(ack.rowid, f"note {ack.id}") for ack in acks]
    # All rows of one transaction have the same created_timestamp.
    assert await database.fetchval("select count(distinct created_timestamp) from note") < 200
