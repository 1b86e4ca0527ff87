"""The HTML of notes, made in the same way by the hub and in the browser.

Owns the markup of a note's row, its links and its dates, and of the row above the oldest note. It escapes the text of a
note, and never decides which notes are shown or where their rows go. It needs only the standard library and
`hub.protocol`.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta, tzinfo
from functools import lru_cache
from html import escape
from typing import Final, NamedTuple

from hub.protocol import Note

PAGE_NOTES: Final = 50  # notes that come with the page, and in one page of history
EDGE: Final = "edge"  # the element id of the row above the oldest note
TOGETHER: Final = timedelta(minutes=10)  # notes of one author that are no further apart are shown under one name
HUES: Final = 8  # number of colours for names; page.css defines them
ADDRESS: Final = re.compile(r"https?://[^\W_][^\s<>\"]*", re.IGNORECASE)
LINK: Final = '<a href="{0}" target="_blank" rel="noopener noreferrer nofollow">{0}</a>'


class Row(NamedTuple):
    """One item of the list: its element id in the page, and its HTML."""

    id: str
    html: str


def rows(notes: Iterable[Note], zone: tzinfo | None, today: date) -> Iterator[Row]:
    """The rows of notes, in the order given, with a row for the date before the notes of each day.

    Times are in `zone`, or in local time if it is None. `today` is the reader's date.
    """
    before: Note | None = None
    for note in notes:
        if starts_day(note, before, zone):
            yield day(note, zone, today)
        yield Row(f"note-{note.rowid}", of_note(note, is_together(note, before, zone), zone))
        before = note


def older(rowid: int) -> str:
    """The row above the oldest note that is shown, if there are older ones: a link to the notes below this rowid."""
    return edge(f'<a id="older" href="?before={rowid}">Older notes</a>')


def beginning(empty: bool) -> str:
    """The row above the first note of all. `empty` says that there is no note."""
    return edge("No notes yet. Write the first one.", " empty") if empty else edge("This is where it begins.")


def edge(text: str, kind: str = "") -> str:
    """The row above the oldest note. `text` is HTML."""
    return f'<li id="{EDGE}" class="edge{kind}">{text}</li>'


def starts_day(note: Note, before: Note | None, zone: tzinfo | None) -> bool:
    """Whether a note has another date than the note `before` it."""
    return before is None or local(note.created_timestamp, zone).date() != local(before.created_timestamp, zone).date()


def is_together(note: Note, before: Note | None, zone: tzinfo | None) -> bool:
    """Whether a note is shown under the name of the note `before` it: same author and date, soon after."""
    if before is None or before.username != note.username or starts_day(note, before, zone):
        return False
    return abs(note.created_timestamp - before.created_timestamp) < TOGETHER


@lru_cache(maxsize=1024)  # in the browser each conversion calls JavaScript
def local(moment: datetime, zone: tzinfo | None) -> datetime:
    """A moment in a time zone (None: local time). At the ends of the calendar it stays in the zone that it has."""
    try:
        return moment.astimezone(zone)
    except (OverflowError, ValueError):
        return moment


def day(note: Note, zone: tzinfo | None, today: date) -> Row:
    """The row with the date of a note, which stands above the notes of that day."""
    when = local(note.created_timestamp, zone).date()
    html = f'<li id="day-{note.rowid}" class="day"><time datetime="{when}">{day_name(when, today)}</time></li>'
    return Row(f"day-{note.rowid}", html)


def day_name(when: date, today: date) -> str:
    """A date in words, such as Today or Saturday, 2 May; with the year if it is another one."""
    if 0 <= (days := (today - when).days) <= 1:
        return ("Today", "Yesterday")[days]
    year = "" if when.year == today.year else f" {when.year}"
    return f"{when:%A}, {when.day} {when:%B}{year}"


def of_note(note: Note, together: bool, zone: tzinfo | None) -> str:
    """One note as a list item. With `together` only screen readers get the name; it is shown further up."""
    when = local(note.created_timestamp, zone)
    edited = ' <small class="edited">edited</small>' if note.updated_timestamp > note.created_timestamp else ""
    time = f'<time datetime="{when.isoformat()}" title="{when:%Y-%m-%d %H:%M:%S %Z}">{when:%H:%M}</time>'
    return item(
        f"note-{note.rowid}", "note together" if together else "note", note.username, time, linked(note.body) + edited
    )


def item(id: str, kind: str, username: str, time: str, text: str, below: str = "") -> str:
    """A list item with a text and its author. Only `username` is escaped here; the other arguments are HTML."""
    return (
        f'<li id="{id}" class="{kind}"><b class="who hue-{hue(username)}" dir="auto">{escape(username)}</b>'
        f'{time}<p dir="auto">{text}</p>{below}</li>'
    )


def hue(username: str) -> int:
    """The number of the colour of a name, 0 to HUES - 1; a name always has the same one."""
    return sum(username.encode(errors="replace")) % HUES


def linked(text: str) -> str:
    """A text as HTML in which web addresses are links.

    A link opens a new tab, and tells the other site neither the address of this page (noreferrer) nor how to reach it
    from a script (noopener).
    """
    parts, end = [], 0
    for found in ADDRESS.finditer(text):
        address = _without_punctuation(found[0])
        parts += [escape(text[end : found.start()]), LINK.format(escape(address))]
        end = found.start() + len(address)
    return "".join(parts) + escape(text[end:])


def _without_punctuation(address: str) -> str:
    """An address without the punctuation of the sentence around it. A closing bracket stays if the address opens it."""
    while address[-1] in ".,;:!?'*_" or (address[-1] == ")" and address.count(")") > address.count("(")):
        address = address[:-1]
    return address
