"""What the address of a stream may ask for."""

import pytest
from multidict import MultiDict

from hub.errors import CommandError
from hub.protocol import LOBBY, Error
from hub.server.stream_query import Query, parse_query


def parse(*pairs: tuple[str, str], max_topics: int = 3) -> Query:
    return parse_query(MultiDict(pairs), max_topics)


def refusal(*pairs: tuple[str, str]) -> Error:
    with pytest.raises(CommandError) as caught:
        parse(*pairs)
    return caught.value.error


def test_nothing() -> None:
    """An address without a query follows the lobby, live, in JSON."""
    query = parse()
    assert (query.topics, query.home, query.after, query.last) == ({LOBBY}, LOBBY, None, None)
    assert (query.username, query.format) == (None, "json")


def test_everything() -> None:
    """All that can be asked for, at once."""
    query = parse(
        ("topic", "a"), ("topic", "b"), ("after", "7"), ("last", "50"), ("username", "gb"), ("format", "text")
    )
    assert (query.topics, query.home, query.after, query.last) == ({"a", "b"}, "a", 7, 50)
    assert (query.username, query.format) == ("gb", "text")


def test_all_topics() -> None:
    """A star is every topic, whatever stands beside it; notes go to the first that is a name."""
    assert parse(("topic", "*")).topics == {"*"} and parse(("topic", "*")).home == LOBBY
    both = parse(("topic", "*"), ("topic", "a"))
    assert both.topics == {"*"} and both.home == "a"


def test_no_topic() -> None:
    """An empty topic follows nothing: a publisher."""
    assert parse(("topic", "")).topics == frozenset() and parse(("topic", "")).home == LOBBY
    assert parse(("topic", ""), ("topic", "a")).topics == {"a"}


def test_words_are_not_values() -> None:
    """A topic or a name that looks like a value of JSON is text all the same."""
    for word in ("null", "true", "7", "1.5"):
        query = parse(("topic", word), ("username", word))
        assert query.topics == {word} and query.username == word


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("after", "-1", "`after`"),
        ("after", "x", "`after`"),
        ("after", "", "`after`"),
        ("after", str(2**53), "`after`"),
        ("last", "0", "`last`"),
        ("last", "1001", "`last`"),
        ("username", "", "`username`"),
        ("username", "x" * 141, "`username`"),
        ("username", " ", "`username`"),
        ("topic", "x" * 141, "`topic"),
        ("topic", "a\0", "`topic"),
        ("format", "xml", "`format`"),
        ("colour", "red", "`colour`"),
    ],
)
def test_wrong_values(name: str, value: str, message: str) -> None:
    """A wrong parameter is named, and the hint lists those that there are."""
    error = refusal((name, value))
    assert error.code == "invalid_address" and message in error.message
    assert all(name in error.hint for name in ("topic", "after", "last", "username", "format"))


@pytest.mark.parametrize("name", ["after", "last", "username", "format"])
def test_twice(name: str) -> None:
    """Only a topic may be given more than once."""
    error = refusal((name, "1"), (name, "1"))
    assert error.code == "invalid_address" and name in error.message and error.hint


def test_too_many_topics() -> None:
    """The limit on topics counts different ones, and names itself."""
    assert len(parse(*[("topic", "abc"[at % 3]) for at in range(9)]).topics) == 3
    error = refusal(*[("topic", name) for name in "abcd"])
    assert error.code == "too_many_topics" and "3" in error.message and error.hint
