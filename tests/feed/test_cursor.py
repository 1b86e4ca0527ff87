"""The rules of one client's cursor that need no hub."""

from hub.feed.cursor import Cursor, Start


def test_a_start_replaces_an_earlier_one() -> None:
    """A client that takes the same topic again and again waits for one start of it, the last; others keep theirs."""
    cursor = Cursor()
    for after in (1, 2, 3):
        cursor.add("a", after, 10)
        cursor.add("b", after, 10)
    assert cursor.starts == [Start("a", 3, None), Start("b", 3, None)]
