"""The ring of recent events: all of what follows a cursor or nothing, in bounded memory."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from hub.feed.events import Event
from hub.feed.ring import Ring
from hub.postgres.notifications import note_event
from hub.protocol import Deleted, Note

MOMENT = datetime(2022, 5, 3, tzinfo=UTC)


def deleted(seq: int) -> Event:
    return Event(seq, "a", Deleted(seq, seq, "a"))


def note(seq: int, body: str) -> Event:
    return note_event(Note(seq, seq, "a", "gb", body, MOMENT, MOMENT))


@given(st.lists(st.integers(1, 5), max_size=60), st.integers(0, 30), st.integers(0, 150))
def test_ring(steps: list[int], events: int, cursor: int) -> None:
    """The ring has everything after a cursor, or says that it has not; it never has a part."""
    ring, seq, seqs = Ring(events * deleted(1).size), 0, []
    for step in steps:
        seq += step
        seqs.append(seq)
        ring.append(deleted(seq))
    found = ring.since(cursor)
    kept = max(events, 1)
    floor = seqs[-kept - 1] if len(seqs) > kept else 0
    assert (None if found is None else [event.seq for event in found]) == (
        None if cursor < floor else [each for each in seqs if each > cursor]
    )
    assert ring.holds(cursor) == (cursor in seqs[-kept:])


def test_ring_is_bounded() -> None:
    """A long run keeps the ring at its size, for long notes too, and hands out pages."""
    ring = Ring(1 << 20)
    for seq in range(1, 20_000):
        ring.append(note(seq, "x" * (seq % 140)))
    kept = [event for event in ring._events if event.message]
    assert sum(event.size for event in kept) <= 1 << 20 < sum(event.size for event in kept) + 3000
    assert len(ring._events) < 2 * len(kept) + 5000
    assert len(ring.since(ring.floor) or []) == Ring.PAGE
    ring.append(note(20_000, "x" * (2 << 20)))
    assert [event.seq for event in ring.since(19_999) or []] == [20_000] and ring.since(19_998) is None
