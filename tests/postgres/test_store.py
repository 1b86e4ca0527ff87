"""What the store reads and writes, on a real Postgres."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import asyncpg
import pytest

from hub.errors import Refused, Unavailable
from hub.feed.ports import Draft, Placed
from hub.postgres.publisher import Publisher
from hub.postgres.store import Store
from hub.protocol import Deleted, Note, Reset

OURS = "from pg_stat_activity where application_name = 'notes-hub' and datname = current_database()"


class Notes(Store):
    """A store with the connection that publishes, as a hub has them."""

    def __init__(self, url: str, size: int = 4) -> None:
        super().__init__(url, size)
        self._publisher = Publisher(self)
        self.publish = self._publisher.publish

    async def close(self) -> None:
        await self._publisher.close()
        await super().close()


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[Notes]:
    made = Notes(url)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def store(url: str) -> AsyncIterator[Notes]:
    async with opened(url) as made:
        yield made


def draft(body: str, key: str | None = None, topic: str = "lobby", author: str | None = None) -> Draft:
    return Draft(topic, "gb", body, author, key)


async def placed(store: Notes, *drafts: Draft) -> list[Placed]:
    places = [place for place in await store.publish(drafts) if isinstance(place, Placed)]
    assert len(places) == len(drafts)
    return places


async def bodies(store: Notes, **options: object) -> list[str]:
    notes, _ = await store.notes(**{"topics": None, "limit": 100, **options})  # type: ignore[arg-type]
    return [note.body for note in notes]


async def test_publish_keeps_the_order(store: Notes) -> None:
    """The places come in the order of the drafts, and rowids and seqs rise in it."""
    names = [str(number) for number in range(300)]
    places = await placed(store, *map(draft, names))
    assert places == sorted(places) and len(set(places)) == 300
    assert sorted(place.seq for place in places) == [place.seq for place in places]
    assert await bodies(store, limit=1000) == names
    assert [event.message.body for event in await store.events(0, None, None, 1000)] == names  # type: ignore[union-attr]


async def test_a_key_is_the_same_note_for_ever(store: Notes) -> None:
    """A key that exists gives the place of its note, in the same batch and in a later one, between others."""
    first, again, other = await placed(store, draft("a", "k"), draft("b", "k"), draft("c"))
    assert first == again and other.rowid > first.rowid
    places = await placed(store, draft("d"), draft("e", "k"), draft("f", "new"), draft("g", "new"))
    assert places[1] == first and places[2] == places[3] and len({place.rowid for place in places}) == 3
    assert await bodies(store) == ["a", "c", "d", "f"]
    assert len(await store.events(0, None, None, 100)) == 4


async def test_a_key_belongs_to_its_author(store: Notes) -> None:
    """Two authors, or one and nobody, may use the same key for notes of their own."""
    places = await placed(store, draft("a", "k"), draft("b", "k", author="x"), draft("c", "k", author="y"))
    assert len({place.rowid for place in places}) == 3
    assert await placed(store, draft("d", "k", author="x")) == [places[1]]


async def test_a_key_is_free_again_with_its_note(store: Notes, database: asyncpg.Connection) -> None:
    """The key of a deleted note makes a new one; that of a changed note has the seq of the change."""
    (first,) = await placed(store, draft("a", "k"))
    await database.execute("update note set body = 'b'")
    (changed,) = await placed(store, draft("a", "k"))
    assert changed.rowid == first.rowid and changed.seq > first.seq
    await database.execute("delete from note")
    (second,) = await placed(store, draft("a", "k"))
    assert second.rowid > first.rowid


async def test_concurrent_retries(url: str, store: Notes) -> None:
    """The same keys from many hubs at once are one note each, whoever is first, and all are told the same place."""

    async def publish() -> list[Placed]:
        async with opened(url) as another:
            return await placed(another, *(draft(str(key), f"k{key}") for key in range(5)))

    answers = await asyncio.gather(*(publish() for _ in range(12)))
    assert all(answer == answers[0] for answer in answers)
    assert len(await bodies(store)) == 5


async def test_refused(store: Notes, database: asyncpg.Connection) -> None:
    """A row that the table refuses is told with the database's words; its neighbours are kept."""
    await database.execute("alter table note add constraint polite check (body <> 'rude')")
    first, refused, last = await store.publish([draft("a"), draft("rude"), draft("b")])
    assert isinstance(refused, Refused) and isinstance(first, Placed) and isinstance(last, Placed)
    assert refused.error.code == "refused" and "polite" in refused.error.message and "\n" not in refused.error.message
    assert await bodies(store) == ["a", "b"] and first.seq < last.seq


async def test_dropped(store: Notes, database: asyncpg.Connection) -> None:
    """A row that a trigger of the owner's drops has no place; its neighbours have theirs."""
    await database.execute(
        """create function drop_spam() returns trigger language plpgsql as
           $$begin if new.body = 'spam' then return null; end if; return new; end$$;
           create trigger drop_spam before insert on note for each row execute function drop_spam()"""
    )
    places = await store.publish([draft("a"), draft("spam"), draft("b")])
    assert [place is None for place in places] == [False, True, False]
    assert await bodies(store) == ["a", "b"]


async def test_unavailable(server: str) -> None:
    """A database that is not there is a temporary error with code and hint, whatever was asked."""
    store = Notes(server.replace("/notes?", "/nothing?").replace("port=5432", "port=1"), 1)
    await store.open()
    for question in (store.publish([draft("a")]), store.head(), store.notes(None, 1), store.state()):
        with pytest.raises(Unavailable) as caught:
            await question
        assert caught.value.error.temporary and caught.value.error.hint and caught.value.reason
    await store.close()


async def test_a_broken_connection_is_unavailable_once(store: Notes, database: asyncpg.Connection) -> None:
    """A connection that was cut gives Unavailable at most; the next question has a fresh one."""
    await store.head()
    await placed(store, draft("a"))
    assert await database.fetchval(f"select count(pg_terminate_backend(pid)) {OURS}") == 2
    for question in (store.head, lambda: store.publish([draft("b")])):
        with contextlib.suppress(Unavailable):
            await question()
    await store.head()
    (place,) = await placed(store, draft("c"))
    assert await store.head() == place.seq


async def test_the_kept_connection(store: Notes, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Publishing has one connection for itself, which does nothing else in between, until it was idle for long."""

    async def last() -> list[tuple[int, str]]:
        return [tuple(row) for row in await database.fetch(f"select pid, query {OURS}")]

    await placed(store, draft("a"))
    ((pid, query),) = await last()
    assert "note_publish" in query
    await placed(store, draft("b"))
    assert await last() == [(pid, query)]
    monkeypatch.setattr("hub.postgres.publisher.IDLE", -1.0)
    await placed(store, draft("c"))
    async with asyncio.timeout(5):
        while pid in [other for other, _ in await last()]:
            await asyncio.sleep(0.01)
    assert await bodies(store) == ["a", "b", "c"]


async def test_nothing_after_a_statement(store: Notes, database: asyncpg.Connection) -> None:
    """A statement is one round trip: no other follows it to reset the connection."""
    await store.head()
    assert "note_event" in await database.fetchval(f"select query {OURS}")


async def test_pages_of_notes(store: Notes) -> None:
    """The newest come first to hand, in the order of their creation; before goes on where a page began."""
    places = await placed(store, *map(draft, "abcdefg"))
    assert await bodies(store, limit=3) == ["e", "f", "g"]
    assert await bodies(store, limit=3, before=places[4].rowid) == ["b", "c", "d"]
    assert await bodies(store, limit=3, before=places[1].rowid) == ["a"]
    assert await bodies(store, before=places[0].rowid) == []


async def test_notes_after_a_cursor(store: Notes, database: asyncpg.Connection) -> None:
    """After a cursor come the notes changed since, in the order of their last change, each once and with its seq."""
    places = await placed(store, *map(draft, "abcd"))
    await database.execute("update note set body = 'B' where body = 'b'")
    await database.execute("update note set body = 'A' where body = 'a'")
    await database.execute("update note set body = 'BB' where body = 'B'")
    await database.execute("delete from note where body = 'c'")
    assert await bodies(store, after=places[2].seq) == ["d", "A", "BB"]
    page, _ = await store.notes(None, 2, after=places[2].seq)
    assert await bodies(store, after=page[-1].seq) == ["BB"]
    assert await bodies(store, after=0) == ["d", "A", "BB"]


async def test_notes_of_topics(store: Notes) -> None:
    """Only the notes of the topics asked for are read; None is all."""
    await placed(store, *(draft(body, topic=body[0]) for body in ("a1", "b1", "a2", "c1")))
    assert await bodies(store, topics=["a"]) == ["a1", "a2"]
    assert await bodies(store, topics=["b", "c"]) == ["b1", "c1"]
    assert await bodies(store, topics=[]) == []
    assert await bodies(store) == ["a1", "b1", "a2", "c1"]


async def test_the_head_of_a_page(store: Notes, database: asyncpg.Connection) -> None:
    """A page tells the log's head, of any topic, even when it has no notes."""
    assert await store.notes(None, 5) == ([], 0)
    (place,) = await placed(store, draft("a", topic="x"))
    assert await store.notes(["y"], 5) == ([], place.seq)
    notes, head = await store.notes(["x"], 5)
    assert (notes[0].seq, notes[0].rowid, head) == (place.seq, place.rowid, await store.head())
    await database.execute("delete from note")
    assert (await store.notes(None, 5))[1] == await store.head() > place.seq


async def test_get(store: Notes) -> None:
    """One note by its rowid, or None."""
    (place,) = await placed(store, draft("a", "k"))
    note = await store.get(place.rowid)
    assert note and (note.seq, note.body, note.key) == (place.seq, "a", "k")
    assert await store.get(place.rowid + 1) is None and await store.get(2**63 - 1) is None


async def test_events(store: Notes, database: asyncpg.Connection) -> None:
    """The log in order: a note as it is now, a deletion, a reset for all; what is gone since carries nothing."""
    await placed(store, *(draft(body, topic=body) for body in "abc"))
    await database.execute("update note set body = 'changed' where topic = 'a'")
    await database.execute("delete from note where topic = 'b'")
    await database.execute("update note set topic = 'd' where topic = 'c'")
    events = await store.events(0, None, None, 100)
    kinds = [(event.topic, type(event.message).__name__) for event in events]
    assert kinds == [
        ("a", "Note"),
        ("b", "NoneType"),
        ("c", "NoneType"),
        ("a", "Note"),
        ("b", "Deleted"),
        ("c", "Deleted"),
        ("d", "Note"),
    ]
    assert isinstance(events[0].message, Note) and events[0].message.body == "changed"
    assert isinstance(events[4].message, Deleted) and events[4].message.rowid == 2
    await database.execute("truncate note")
    (last,) = await store.events(events[-1].seq, None, ["zzz"], 100)
    assert last.topic is None and isinstance(last.message, Reset)


async def test_a_range_of_events(store: Notes, database: asyncpg.Connection) -> None:
    """Events are cut by both ends, by topic and by number."""
    places = await placed(store, *(draft(body, topic=body[0]) for body in ("a1", "b1", "a2", "b2", "a3")))
    seqs = [place.seq for place in places]

    # Rows lie in another order than they are numbered.
    await database.execute("update note_event set at = at where seq <= $1", seqs[1])

    async def read(*arguments: object) -> list[int]:
        return [event.seq for event in await store.events(*arguments)]  # type: ignore[arg-type]

    assert await read(seqs[0], seqs[3], None, 10) == seqs[1:4]
    assert await read(seqs[0], None, ["a"], 10) == [seqs[2], seqs[4]]
    assert await read(0, None, None, 2) == seqs[:2]
    assert await read(seqs[-1], None, None, 10) == []


async def test_positions(store: Notes, database: asyncpg.Connection) -> None:
    """A cursor is held when it is an event's or the floor; the tail is the cursor before the newest few."""
    assert await store.holds(0) and await store.head() == 0 and await store.tail(5) == 0
    seqs = [place.seq for place in await placed(store, *map(draft, "abc"))]
    assert await store.head() == seqs[-1] and await store.tail(2) == seqs[0] and await store.tail(3) == 0
    assert all([await store.holds(seq) for seq in seqs]) and not await store.holds(seqs[0] - 1)
    await database.execute("delete from note_event where seq <= $1", seqs[1])
    await database.execute("update note_log set floor = $1", seqs[1])
    assert not await store.holds(0) and not await store.holds(seqs[0]) and await store.holds(seqs[1])
    assert await store.tail(5) == seqs[1]
    assert [note.seq for note in (await store.notes(None, 9))[0]] == [seqs[1], seqs[1], seqs[2]]


@pytest.mark.parametrize("moment", ["infinity", "-infinity", "20000-01-01", "4000-01-01 BC"])
async def test_strange_times(store: Notes, database: asyncpg.Connection, moment: str) -> None:
    """A time that no datetime can hold is read as the nearest that one can, in notes and in events."""
    await database.execute(
        "insert into note (username, body, created_timestamp, updated_timestamp)"
        " values ('gb', 'x', $1::text::timestamptz, $1::text::timestamptz)",
        moment,
    )
    (note,), _ = await store.notes(None, 5)
    assert (
        note.created_timestamp.year
        == note.updated_timestamp.year
        == (1 if "-inf" in moment or "BC" in moment else 9999)
    )
    (event,) = await store.events(0, None, None, 5)
    assert event.message == note


async def test_health(store: Notes) -> None:
    """Health tells the newest seq and how full the notify queue is."""
    (place,) = await placed(store, draft("a"))
    health = await store.state()
    assert health.last == place.seq and 0 <= health.queue_usage < 0.01
