"""The notes of one topic that the page holds, and the window of them that it shows.

Owns their order (by rowid, as in a page of history) and their number: at most HELD in memory and at most WINDOW on the
page, however many come. It never does input or output and knows no browser.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from hub.protocol import Deleted, Note, Page

WINDOW = 200  # rows on the page
HELD = 4000  # notes in memory
STEP = 80  # notes by which the window moves


def rowid(note: Note) -> int:
    """The rowid of a note, by which notes are ordered."""
    return note.rowid


class Notes:
    """Notes in order, and a window on them that follows the newest or stays where the reader is.

    `whole` says that `notes` are all notes of the topic: there are no older ones.
    """

    def __init__(self, notes: Iterable[Note] = (), whole: bool = False) -> None:
        self.held = list(notes)
        self.whole = whole  # there are no notes older than these
        self.cut = False  # newer notes were dropped, since the reader is far back
        self._top: int | None = None  # rowid of the window's first note; None if the window follows the newest
        self._late: list[Note | Deleted] | None = None  # changes since a page of history was asked for

    # The window.

    @property
    def start(self) -> int:
        """The index of the window's first note."""
        newest = max(0, len(self.held) - WINDOW)
        return newest if self._top is None else min(newest, self._index(self._top))

    def window(self) -> Sequence[Note]:
        """The notes on the page."""
        return self.held[self.start : self.start + WINDOW]

    @property
    def at_end(self) -> bool:
        """Whether the newest note is in the window."""
        return not self.cut and self.start + WINDOW >= len(self.held)

    def follow(self) -> None:
        """Keep the window on the newest notes."""
        self._top = None
        self._trim()

    def stay(self) -> None:
        """Keep the window where it is, whatever notes come."""
        if self._top is None and self.held:
            self._top = self.held[self.start].rowid

    def move(self, notes: int) -> bool:
        """Move the window by some notes: to newer ones, or to older ones if below 0. Returns whether it moved."""
        before = self.start
        if self.held:
            self._top = self.held[max(0, min(len(self.held) - 1, before + notes))].rowid
        return self.start != before

    # Changes.

    def put(self, note: Note) -> bool:
        """Insert a note or replace it by its newer version. Returns whether it is a new note at the end."""
        if self._late is not None:
            self._late.append(note)
        return self._put(note)

    def remove(self, deleted: Deleted) -> None:
        """Remove a note that was deleted."""
        if self._late is not None:
            self._late.append(deleted)
        self._remove(deleted)

    def forget(self) -> None:
        """Forget all notes: they cannot be brought up to date."""
        self.held, self.whole, self.cut, self._top, self._late = [], False, False, None, None

    def asked(self) -> None:
        """Keep changes from now on: a page of history was asked for, and they may be newer than its answer."""
        self._late = []

    def unasked(self) -> None:
        """Stop keeping changes: the page of history will not come."""
        self._late = None

    def older(self, page: Page, asked: int) -> None:
        """Add a page of notes that are older than all of these; `asked` is how many were asked for."""
        self.stay()
        known = {note.rowid for note in self.held}
        self.held = [note for note in page.notes if note.rowid not in known] + self.held
        self.held.sort(key=rowid)
        self.whole = len(page.notes) < asked
        self._repeat()

    def newest(self, page: Page, asked: int) -> None:
        """Replace all notes by a page of the newest; `asked` is how many were asked for."""
        self.held, self._top, self.cut = list(page.notes), None, False
        self.whole = len(page.notes) < asked
        self._repeat()

    def _repeat(self) -> None:
        """Apply the changes that came while the page of history was under way."""
        late, self._late = self._late or (), None
        for event in late:
            if isinstance(event, Note):
                self._put(event)
            else:
                self._remove(event)

    def _index(self, wanted: int) -> int:
        return bisect_left(self.held, wanted, key=rowid)

    def _put(self, note: Note) -> bool:
        at = self._index(note.rowid)
        if at < len(self.held) and self.held[at].rowid == note.rowid:
            if note.seq >= self.held[at].seq:
                self.held[at] = note
            return False
        if at == 0 and self.held and not self.whole:
            return False  # older than all notes held, so a page of history will bring it
        is_newest = at == len(self.held)
        if not (is_newest and self.cut):
            self.held.insert(at, note)
            self._trim()
        return is_newest

    def _remove(self, deleted: Deleted) -> None:
        at = self._index(deleted.rowid)
        if at < len(self.held) and self.held[at].rowid == deleted.rowid:
            del self.held[at]

    def _trim(self) -> None:
        if len(self.held) <= HELD:
            return
        if self._top is None:
            del self.held[: len(self.held) - HELD // 2]
            self.whole = False
        elif self.start + WINDOW < HELD:
            del self.held[HELD:]
            self.cut = True
        else:
            del self.held[: len(self.held) - HELD]
            self.whole = False
