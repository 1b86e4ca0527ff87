"""The list of notes as the reader sees it.

Owns the rows on the page, and the reader's place in them. Rows are drawn once a frame, however many notes have come,
and only those that differ are changed; a reader further up stays at the same line. It never decides which notes there
are: `notes` and `own` do.

The box is laid out from its end (CSS column-reverse), so its scrollTop is 0 at the newest note and negative above it.
This puts the page at the newest note before any script runs.
"""

from collections.abc import Callable
from datetime import date
from typing import Any

from js import document

from chat.browser import Turn, element, on
from chat.notes import STEP, Notes
from chat.own import Owns
from hub.page import note_html
from hub.protocol import Note

NEAR = 700  # pixels from an end of the rows at which more of them are fetched
AT_END = 40  # pixels from the newest note that still count as being at the end
SAID = 3  # up to this number, new notes are read out one by one; of more, only the number is


class Log:
    """The list. It calls `more` to have notes fetched that are older than those held, and `newest` for the newest."""

    def __init__(self, notes: Notes, own: Owns, more: Callable[[], None], newest: Callable[[], None]) -> None:
        self.notes, self.own = notes, own
        self.live = False
        self._more, self._newest = more, newest
        self._box, self._list = element("log"), element("notes")
        self._pill, self._said = element("newest"), element("said")
        self._title = document.title
        self._shown: dict[str, str] = {}  # id → HTML of the rows on the page
        self._made: dict[int, tuple[Note, bool, str]] = {}  # rowid → the note, whether it is together, and its HTML
        self._unread: list[Note] = []  # notes to count in the button and in the title
        self._heard: list[Note] = []  # notes for the screen reader
        self._drawing, self._looking = Turn(self.draw), Turn(self._look)
        on(self._box, "scroll", lambda _: self._looking.ask(), passive=True)
        on(self._pill, "click", lambda _: self.to_end())
        on(self._list, "click", self._clicked)
        on(document, "visibilitychange", lambda _: self._read())

    # Called by the chat.

    def changed(self) -> None:
        """Draw in the next frame: the notes have changed."""
        self._drawing.ask()

    def came(self, note: Note) -> None:
        """Count a note that somebody else has written, and have it read out."""
        self._unread.append(note)
        self._heard.append(note)

    def forget(self) -> None:
        """Forget what is known of the notes that were shown."""
        self._unread.clear()
        self._made.clear()

    def to_end(self) -> None:
        """Go to the newest note."""
        if self.notes.cut:
            self._newest()
        self.notes.follow()
        self.draw()
        self._box.scrollTop = 0
        self._look()

    # Drawing.

    def draw(self) -> None:
        """Bring the rows on the page up to date."""
        wanted = dict(self._rows())
        reads_back = not self._at_end()
        line = self._first_visible(wanted) if reads_back else ""
        before = self._top_of(line)
        self._replace(wanted)
        if line:
            self._box.scrollTop += self._top_of(line) - before
        elif not reads_back:
            self._box.scrollTop = 0
        self._say()
        self._looking.ask()

    def _rows(self) -> list[note_html.Row]:
        """The rows to be shown."""
        found, before, today = [self._edge()], None, date.today()
        made: dict[int, tuple[Note, bool, str]] = {}
        for note in self.notes.window():
            if note_html.starts_day(note, before, None):
                found.append(note_html.day(note, None, today))
            together = note_html.is_together(note, before, None)
            known = self._made.get(note.rowid)
            if known is None or known[0] is not note or known[1] is not together:
                known = note, together, note_html.of_note(note, together, None)
            made[note.rowid] = known
            found.append(note_html.Row(f"note-{note.rowid}", known[2]))
            before = note
        self._made = made
        if self.notes.at_end:
            found += self.own.rows(self.live)
        return found

    def _edge(self) -> note_html.Row:
        """The row above the first note: a link to older notes, or why there is none."""
        notes = self.notes
        if not notes.start and notes.whole:
            html = note_html.beginning(not notes.held and not self.own.waiting)
        else:
            html = note_html.older(notes.held[0].rowid) if notes.held else note_html.edge("…")
        return note_html.Row(note_html.EDGE, html)

    def _replace(self, wanted: dict[str, str]) -> None:
        """Change the rows on the page into the wanted ones. Only those that differ are touched."""
        shown = self._shown
        kept = [id for id in shown if id in wanted]
        if not kept or len(kept) < len(wanted) // 2 or kept != [id for id in wanted if id in shown]:
            self._list.innerHTML = "".join(wanted.values())
        else:
            for id in shown.keys() - wanted.keys():
                element(id).remove()
            new: list[str] = []
            for id, html in wanted.items():
                if id not in shown:
                    new.append(html)
                    continue
                if new:
                    element(id).insertAdjacentHTML("beforebegin", "".join(new))
                    new.clear()
                if shown[id] != html:
                    element(id).outerHTML = html
            if new:
                self._list.insertAdjacentHTML("beforeend", "".join(new))
        self._shown = wanted

    # Where the reader is.

    def _at_end(self) -> bool:
        return self._box.scrollTop > -AT_END

    def _top_of(self, id: str) -> float:
        return element(id).getBoundingClientRect().top if id else 0.0

    def _first_visible(self, wanted: dict[str, str]) -> str:
        """The id of the first row in sight that will stay."""
        ids = [id for id in self._shown if id in wanted and id != "edge"]
        top = self._box.getBoundingClientRect().top
        low, high = 0, len(ids)
        while low < high:
            middle = (low + high) // 2
            if element(ids[middle]).getBoundingClientRect().bottom > top:
                high = middle
            else:
                low = middle + 1
        return ids[min(low, len(ids) - 1)] if ids else ""

    def _look(self) -> None:
        """Fetch or show more rows if the reader is near an end of those that are there."""
        notes, box = self.notes, self._box
        if self._at_end() and notes.at_end:
            notes.follow()
        else:
            notes.stay()
        if box.scrollHeight - box.clientHeight + box.scrollTop < NEAR:
            if notes.start and not self._at_end():
                self._move(-STEP)
            elif not notes.start and not notes.whole and self.live:
                self._more()
        elif box.scrollTop > -NEAR and not notes.at_end and not notes.cut:
            self._move(STEP)
        self._read()

    def _move(self, step: int) -> None:
        if self.notes.move(step):
            self._drawing.ask()

    def _read(self) -> None:
        """Show how many notes the reader has not seen, in the button and in the title."""
        at_end = self._at_end() and self.notes.at_end
        if at_end and not document.hidden:
            self._unread.clear()
        count = len(self._unread)
        self._pill.hidden = at_end
        self._pill.textContent = f"{count} new note{'s' * (count != 1)}" if count else "Newest notes"
        document.title = f"({count}) {self._title}" if count else self._title

    def _say(self) -> None:
        """Have a screen reader read out the notes that have come."""
        heard, self._heard = self._heard, []
        if len(heard) > SAID:
            self._said.textContent = f"{len(heard)} new notes"
        elif heard:
            self._said.textContent = ". ".join(f"{note.username}: {note.body}" for note in heard)

    def _clicked(self, event: Any) -> None:
        if event.target.id == "older":
            event.preventDefault()
            self._box.scrollTop = -self._box.scrollHeight
            self._looking.ask()
