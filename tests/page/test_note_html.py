"""How notes look: days, names, links, and that text stays text."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from hub.page.note_html import day_name, hue, linked, rows
from hub.protocol import Note

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
TODAY = date(2026, 5, 4)


def note(rowid: int, minutes: float = 0, username: str = "ada", body: str = "x") -> Note:
    when = NOON + timedelta(minutes=minutes)
    return Note(rowid, rowid, "lobby", username, body, when, when)


def ids(*notes: Note, zone: timezone = UTC) -> list[str]:
    return [row.id for row in rows(notes, zone, TODAY)]


def test_each_day_begins_with_its_name() -> None:
    """A row with the day stands before its first note, by the reader's calendar."""
    late, later = note(1, 11 * 60), note(2, 13 * 60)
    assert ids(late, later) == ["day-1", "note-1", "day-2", "note-2"]
    assert ids(late, later, zone=timezone(timedelta(hours=2))) == ["day-1", "note-1", "note-2"]


def test_notes_of_one_author_stand_together() -> None:
    """A name is shown once for notes within minutes; another author, or an hour, shows it again."""
    found = rows([note(1), note(2, 9), note(3, 10, "gb"), note(4, 11, "gb"), note(5, 71, "gb")], UTC, TODAY)
    together = [row.id for row in found if "note together" in row.html]
    assert together == ["note-2", "note-4"]


@pytest.mark.parametrize(
    ("when", "name"),
    [
        (date(2026, 5, 4), "Today"),
        (date(2026, 5, 3), "Yesterday"),
        (date(2026, 5, 2), "Saturday, 2 May"),
        (date(2026, 5, 5), "Tuesday, 5 May"),
        (date(2025, 12, 31), "Wednesday, 31 December 2025"),
        (date(9999, 12, 31), "Friday, 31 December 9999"),
    ],
)
def test_names_of_days(when: date, name: str) -> None:
    """Near days have names, days of other years their year."""
    assert day_name(when, TODAY) == name


def test_an_edited_note_says_so() -> None:
    """A note that was changed after it was written is marked."""
    changed = note(1)
    changed.updated_timestamp += timedelta(seconds=1)
    assert [">edited<" in row.html for row in rows([changed, note(2)], UTC, TODAY)] == [False, True, False]


def test_text_is_escaped_everywhere() -> None:
    """Names and texts can't end the element or attribute that they stand in."""
    html = "".join(row.html for row in rows([note(1, username="\"><script>'", body="</p><b>&amp;")], UTC, TODAY))
    assert "<script>" not in html and "<b>" not in html and "&lt;/p&gt;&lt;b&gt;&amp;amp;" in html


def test_a_time_at_the_end_of_the_calendar() -> None:
    """A time that has no local form is shown as it is."""
    last = note(1)
    last.created_timestamp = last.updated_timestamp = datetime(9999, 12, 31, 23, 59, tzinfo=UTC)
    assert "23:59" in list(rows([last], timezone(timedelta(hours=5)), TODAY))[1].html


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("see https://a.example/b?c=d&e=f#g.", ["https://a.example/b?c=d&amp;e=f#g"]),
        ("(http://a.example/x_(y))!", ["http://a.example/x_(y)"]),
        ("HTTPS://A.example, and http://b.example", ["HTTPS://A.example", "http://b.example"]),
        ('https://a.example/"onclick=x', ["https://a.example/"]),
        ("javascript:alert(1) ftp://a.example data:text/html,x //a.example", []),
        ("https://", []),
        ("http://...", []),
    ],
)
def test_links(text: str, addresses: list[str]) -> None:
    """Web addresses become links without the punctuation around them; nothing else does."""
    html = linked(text)
    assert [part.split('"')[0] for part in html.split('<a href="')[1:]] == addresses
    assert html.count('rel="noopener noreferrer nofollow"') == len(addresses)


def test_a_name_keeps_its_colour() -> None:
    """The colour follows from the name alone, whatever characters it has."""
    assert hue("ada") == hue("ada") and 0 <= hue("\U0001f600 é") < 8
