"""How notes look: the HTML of their rows, made alike by the hub and in the browser.

Owns markup, links and dates of rows. A note's text is only ever text. Knows neither where rows go
nor how notes came; standard library and `protocol` only.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta, tzinfo
from functools import lru_cache
from html import escape
from typing import Final, NamedTuple

from hub.protocol import Note

TOGETHER: Final = timedelta(minutes=10)  # notes of one author within this stand under one name
HUES: Final = 8  # colours of names; page.css has them
ADDRESS: Final = re.compile(r"https?://[^\W_][^\s<>\"]*", re.IGNORECASE)
LINK: Final = '<a href="{0}" target="_blank" rel="noopener noreferrer nofollow">{0}</a>'


class Row(NamedTuple):
    """An item of the list: its id in the page, and its HTML."""

    id: str
    html: str


def rows(notes: Iterable[Note], zone: tzinfo | None, today: date) -> Iterator[Row]:
    """The rows of notes in their order, with a row before each day. Without a zone: local time."""
    before: Note | None = None
    for note in notes:
        if starts_day(note, before, zone):
            yield day(note, zone, today)
        yield Row(f"note-{note.rowid}", of_note(note, is_together(note, before, zone), zone))
        before = note


def starts_day(note: Note, before: Note | None, zone: tzinfo | None) -> bool:
    """Whether another day begins with a note."""
    return before is None or local(note.created_timestamp, zone).date() != local(before.created_timestamp, zone).date()


def is_together(note: Note, before: Note | None, zone: tzinfo | None) -> bool:
    """Whether a note goes on where the one before it ended: same author, same day, soon after."""
    if before is None or before.username != note.username or starts_day(note, before, zone):
        return False
    return abs(note.created_timestamp - before.created_timestamp) < TOGETHER


@lru_cache(maxsize=1024)  # the browser asks JavaScript for each
def local(moment: datetime, zone: tzinfo | None) -> datetime:
    """A moment in a time zone; as it is where the calendar ends."""
    try:
        return moment.astimezone(zone)
    except (OverflowError, ValueError):
        return moment


def day(note: Note, zone: tzinfo | None, today: date) -> Row:
    """The row that begins a note's day."""
    when = local(note.created_timestamp, zone).date()
    html = f'<li id="day-{note.rowid}" class="day"><time datetime="{when}">{day_name(when, today)}</time></li>'
    return Row(f"day-{note.rowid}", html)


def day_name(when: date, today: date) -> str:
    """A day in words."""
    if 0 <= (days := (today - when).days) <= 1:
        return ("Today", "Yesterday")[days]
    year = "" if when.year == today.year else f" {when.year}"
    return f"{when:%A}, {when.day} {when:%B}{year}"


def of_note(note: Note, together: bool, zone: tzinfo | None) -> str:
    """One note as a list item; `together` leaves its name to screen readers."""
    when = local(note.created_timestamp, zone)
    edited = ' <small class="edited">edited</small>' if note.updated_timestamp > note.created_timestamp else ""
    time = f'<time datetime="{when.isoformat()}" title="{when:%Y-%m-%d %H:%M:%S %Z}">{when:%H:%M}</time>'
    return item(
        f"note-{note.rowid}", "note together" if together else "note", note.username, time, linked(note.body) + edited
    )


def item(id: str, kind: str, username: str, time: str, text: str, below: str = "") -> str:
    """A list item with an author's text; `time`, `text` and `below` are HTML already."""
    return (
        f'<li id="{id}" class="{kind}"><b class="who hue-{hue(username)}" dir="auto">{escape(username)}</b>'
        f'{time}<p dir="auto">{text}</p>{below}</li>'
    )


def hue(username: str) -> int:
    """The colour of a name: always the same."""
    return sum(username.encode(errors="replace")) % HUES


def linked(text: str) -> str:
    """A text as HTML, with its web addresses as links that tell the other site nothing."""
    parts, end = [], 0
    for found in ADDRESS.finditer(text):
        address = _without_punctuation(found[0])
        parts += [escape(text[end : found.start()]), LINK.format(escape(address))]
        end = found.start() + len(address)
    return "".join(parts) + escape(text[end:])


def _without_punctuation(address: str) -> str:
    """An address without what ends the sentence around it; a closing bracket stays if the address opens it."""
    while address[-1] in ".,;:!?'*_" or (address[-1] == ")" and address.count(")") > address.count("(")):
        address = address[:-1]
    return address
