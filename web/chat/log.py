"""The list of notes as the reader sees it.

Owns the rows on the page and where the reader is in them: what is shown is drawn once a frame, however
much has come, by changing only the rows that differ; who reads further up stays at the same line.
What there is to show is `notes` and `own`. Note that the box is laid out from its end (column-reverse), so its
scrollTop is 0 at the newest note and negative above it: that is right before any script runs.
"""

from collections.abc import Callable
from datetime import date
from html import escape
from typing import Any

from js import document

from chat.browser import Turn, element, on
from chat.notes import STEP, Notes
from chat.own import Owns
from hub.page import note_html as rows
from hub.protocol import Note

NEAR = 700  # px from an end of the rows at which more of them are fetched
AT_END = 40  # px from the newest note that still count as being there
SAID = 3  # notes that are read out one by one; more are only counted

BEGINNING = "This is where it begins."
EMPTY = "No notes yet. Write the first one."


class Log:
    """The list. `more` asks for older notes, `newest` for the newest ones, where they are not held."""

    def __init__(self, notes: Notes, own: Owns, more: Callable[[], None], newest: Callable[[], None]) -> None:
        self.notes, self.own = notes, own
        self.live = False
        self._more, self._newest = more, newest
        self._box, self._list = element("log"), element("notes")
        self._pill, self._said = element("newest"), element("said")
        self._title = document.title
        self._shown: dict[str, str] = {}  # id → HTML of the rows on the page
        self._made: dict[int, tuple[Note, bool, str]] = {}  # rowid → what its HTML was made of, and it
        self._unread: list[Note] = []
        self._heard: list[Note] = []
        self._drawing, self._looking = Turn(self.draw), Turn(self._look)
        on(self._box, "scroll", lambda _: self._looking.ask(), passive=True)
        on(self._pill, "click", lambda _: self.to_end())
        on(self._list, "click", self._clicked)
        on(document, "visibilitychange", lambda _: self._read())

    # What others tell it.

    def changed(self) -> None:
        """There is something else to show."""
        self._drawing.ask()

    def came(self, note: Note) -> None:
        """Somebody else has written a note."""
        self._unread.append(note)
        self._heard.append(note)

    def forget(self) -> None:
        """Nothing of what was shown counts any more."""
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

    def _rows(self) -> list[rows.Row]:
        """The rows to be shown."""
        found, before, today = [self._edge()], None, date.today()
        made: dict[int, tuple[Note, bool, str]] = {}
        for note in self.notes.window():
            if rows.starts_day(note, before, None):
                found.append(rows.day(note, None, today))
            together = rows.is_together(note, before, None)
            known = self._made.get(note.rowid)
            if known is None or known[0] is not note or known[1] is not together:
                known = note, together, rows.of_note(note, together, None)
            made[note.rowid] = known
            found.append(rows.Row(f"note-{note.rowid}", known[2]))
            before = note
        self._made = made
        if self.notes.at_end:
            found += self.own.rows(self.live)
        return found

    def _edge(self) -> rows.Row:
        """The row above the first note."""
        notes = self.notes
        if notes.start or not notes.whole:
            oldest = notes.held[0].rowid if notes.held else 1
            text = f'<a id="older" href="?before={oldest}">Older notes</a>' if notes.held else "…"
            return rows.Row("edge", f'<li id="edge" class="edge">{text}</li>')
        kind, text = ("edge", BEGINNING) if notes.held or self.own.waiting else ("edge empty", EMPTY)
        return rows.Row("edge", f'<li id="edge" class="{kind}">{escape(text)}</li>')

    def _replace(self, wanted: dict[str, str]) -> None:
        """Change the rows on the page into the wanted ones, touching only what differs."""
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
        """The id of the first row on the screen that will stay."""
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
        """Fetch or show more rows where the reader comes near the end of those that are there."""
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
        """Count what the reader has not seen."""
        at_end = self._at_end() and self.notes.at_end
        if at_end and not document.hidden:
            self._unread.clear()
        count = len(self._unread)
        self._pill.hidden = at_end
        self._pill.textContent = f"{count} new note{'s' * (count != 1)}" if count else "Newest notes"
        document.title = f"({count}) {self._title}" if count else self._title

    def _say(self) -> None:
        """Read out what has come, for those who do not see it."""
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
