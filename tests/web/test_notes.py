"""The notes that a page holds: their order, their bounds, and what history adds."""

from datetime import UTC, datetime

from chat.notes import HELD, WINDOW, Notes
from hub.protocol import Deleted, Note, Page

NOW = datetime(2026, 5, 4, tzinfo=UTC)


def note(rowid: int, seq: int | None = None, body: str = "") -> Note:
    return Note(seq or rowid, rowid, "lobby", "ada", body, NOW, NOW)


def notes(first: int, last: int) -> list[Note]:
    return [note(rowid) for rowid in range(first, last + 1)]


def held(of: Notes) -> list[int]:
    return [each.rowid for each in of.held]


def shown(of: Notes) -> list[int]:
    return [each.rowid for each in of.window()]


def test_order_is_by_rowid() -> None:
    """A note that commits late stands where it was created; a change stays in its place, an old one is passed over."""
    found = Notes(notes(1, 2), whole=True)
    assert found.put(note(5)) and not found.put(note(4, seq=6))
    assert not found.put(note(2, seq=9, body="new")) and not found.put(note(2, seq=8, body="old"))
    assert held(found) == [1, 2, 4, 5] and found.held[1].body == "new"
    found.remove(Deleted(10, 4, "lobby"))
    found.remove(Deleted(11, 4, "lobby"))
    assert held(found) == [1, 2, 5]


def test_changes_of_what_is_not_held_are_passed_over() -> None:
    """A change of a note older than those that are held does not tear a hole into the list."""
    found = Notes(notes(10, 12))
    assert not found.put(note(3, seq=20)) and held(found) == [10, 11, 12]


def test_the_window_follows_the_newest() -> None:
    """At the end the page shows the newest notes, and no more than a window of them."""
    found = Notes(notes(1, 10))
    for each in notes(11, WINDOW + 50):
        found.put(each)
    assert shown(found) == list(range(51, WINDOW + 51)) and found.at_end


def test_the_window_stays_where_it_is_read() -> None:
    """Who reads further up keeps the window's first note, whatever comes, and gets to the end again by moving."""
    found = Notes(notes(1, 300))
    found.stay()
    found.move(-50)
    for each in notes(301, 500):
        found.put(each)
    assert shown(found)[0] == 51 and len(shown(found)) == WINDOW and not found.at_end
    assert found.move(80) and shown(found)[0] == 131
    while found.move(80):
        pass
    assert found.at_end and shown(found)[-1] == 500


def test_memory_is_bounded() -> None:
    """Following, the oldest go; reading far back, the newest do, until they are asked for anew."""
    found = Notes(notes(1, 10), whole=True)
    for each in notes(11, HELD + 10):
        found.put(each)
    assert len(found.held) <= HELD and held(found)[-1] == HELD + 10 and not found.whole
    found = Notes(notes(1, 300))
    found.stay()
    for each in notes(301, HELD + 500):
        assert found.put(each)
    assert len(found.held) == HELD and found.cut and not found.at_end and shown(found)[0] == 101
    found.asked()
    found.put(note(HELD + 501, seq=10**6))
    found.newest(Page(notes(HELD + 451, HELD + 500), 10**5), 50)
    assert held(found) == list(range(HELD + 451, HELD + 502)) and found.at_end and not found.cut


def test_history_and_what_came_meanwhile() -> None:
    """A page of history is older than what came since it was asked for: deletions and changes win."""
    found = Notes(notes(51, 100))
    found.asked()
    found.remove(Deleted(200, 10, "lobby"))
    found.put(note(11, seq=201, body="changed"))
    found.put(note(101, seq=202))
    found.older(Page(notes(1, 50), 199), 50)
    assert held(found) == [each for each in range(1, 102) if each != 10]
    assert next(each.body for each in found.held if each.rowid == 11) == "changed"
    assert shown(found)[0] == 51 or len(found.held) < WINDOW
    assert not found.whole
    found.asked()
    found.older(Page([], 203), 50)
    assert found.whole


def test_forgetting() -> None:
    """After a reset nothing of before is held, and what comes is taken."""
    found = Notes(notes(51, 100), whole=True)
    found.stay()
    found.forget()
    assert held(found) == [] and found.put(note(7)) and shown(found) == [7]
