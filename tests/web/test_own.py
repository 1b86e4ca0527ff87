"""Our own notes on their way: what becomes of each."""

from datetime import UTC, datetime

from chat.own import Owns
from hub.client.events import Accepted, Rejected
from hub.protocol import Error, Note, Publish

NOW = datetime(2026, 5, 4, tzinfo=UTC)


def publish(key: str) -> Publish:
    return Publish("gb", f"body of {key}", "lobby", key)


def note(rowid: int, seq: int, key: str | None = None) -> Note:
    return Note(seq, rowid, "lobby", "gb", "x", NOW, NOW, key)


def test_the_note_replaces_ours() -> None:
    """Ours is there until the hub's note with its key comes, whether the ack comes before that or after."""
    own = Owns({})
    own.add(publish("a"))
    own.add(publish("b"))
    own.accepted(Accepted("a", 10, 1))
    assert [row.id for row in own.rows(True)] == ["own-a", "own-b"]
    assert own.arrived(note(1, 10, "a")) and not own.arrived(note(1, 10, "a"))
    assert own.arrived(note(2, 11, "b"))
    own.accepted(Accepted("b", 11, 2))
    assert list(own.rows(True)) == []


def test_saved_and_deleted_at_once() -> None:
    """One that was saved and never comes, since somebody deleted it, goes when later things come."""
    own = Owns({})
    own.add(publish("a"))
    own.accepted(Accepted("a", 10, 1))
    own.passed(10)
    assert own.waiting
    own.passed(11)
    assert not own.waiting


def test_what_rows_say() -> None:
    """Each row says what becomes of its note."""
    own = Owns({})
    for key in "abc":
        own.add(publish(key))
    own.accepted(Accepted("b", 10, 1))
    own.rejected(Rejected("c", Error("refused", "No: <b>", "Ask.")))
    said = [row.html for row in own.rows(True)]
    assert "Sending…" in said[0] and "Sent" in said[1] and "Not sent. No: &lt;b&gt;. Ask." in said[2]
    assert "Waits for the connection" in next(own.rows(False)).html


def test_what_is_kept() -> None:
    """What was neither saved nor refused is kept for the next page, in its order; what can't be read is dropped."""
    store = {"broken": "{"}
    own = Owns(store)
    for key in "zyxw":
        own.add(publish(key))
    own.accepted(Accepted("y", 10, 1))
    own.rejected(Rejected("x", Error("refused", "no", "")))
    assert [each.key for each in Owns(store).kept()] == ["z", "w"] and sorted(store) == ["w", "z"]
