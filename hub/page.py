"""The page as the hub sends it: the newest notes are in its HTML, readable without any script.

Owns how notes become HTML; a note's text is only ever text.
"""

from collections.abc import Sequence
from html import escape
from string import Template

from hub.protocol import MAX_LENGTH, Note
from hub.settings import WEB_DIR

TEMPLATE = Template((WEB_DIR / "index.html").read_text())


def render(topic: str, notes: Sequence[Note], seq: int) -> str:
    """The whole page: a topic's newest notes in the order of their creation, current at `seq`."""
    rows = "\n".join(row(note) for note in notes) or '<li class="empty">No notes yet. Write the first one.</li>'
    return TEMPLATE.substitute(topic=escape(topic), notes=rows, seq=seq, max_length=MAX_LENGTH)


def row(note: Note) -> str:
    """One note as a list item."""
    time = note.created_timestamp
    return (
        f'<li id="note-{note.rowid}"><b dir="auto">{escape(note.username)}</b> '
        f'<time datetime="{time.isoformat()}">{time:%Y-%m-%d %H:%M}</time> '
        f'<p dir="auto">{escape(note.body)}</p></li>'
    )
