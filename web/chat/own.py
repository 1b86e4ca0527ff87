"""The notes that were written here and are not in the log yet: sending, sent, or refused.

Owns what becomes of each, by its `key`, and that none is lost when the page is closed: they are kept
in the browser and sent again by the next page of the topic; the hub saves a key only once. Sends
nothing itself.
"""

from collections.abc import Iterator, MutableMapping
from datetime import datetime
from html import escape

import msgspec

from hub.client.events import Accepted, Rejected
from hub.page import note_html as rows
from hub.page.form import in_words
from hub.protocol import Error, Note, Publish
from hub.protocol.codec import encode


class Own(msgspec.Struct):
    """A note of ours: being sent, saved at `seq`, or refused with an error."""

    note: Publish
    error: Error | None = None
    seq: int | None = None
    written: datetime = msgspec.field(default_factory=lambda: datetime.now().astimezone())


class Owns:
    """Our notes by key, in the order in which they were written. `store` keeps texts under names."""

    def __init__(self, store: MutableMapping[str, str]) -> None:
        self._store = store
        self.waiting: dict[str, Own] = {}

    def kept(self) -> list[Publish]:
        """What an earlier page could not send."""
        found = []
        for name in list(self._store):
            try:
                found.append(msgspec.json.decode(self._store[name], type=Own))
            except msgspec.DecodeError:
                del self._store[name]
        return [own.note for own in sorted(found, key=lambda own: own.written)]

    def add(self, note: Publish) -> None:
        """A note is on its way."""
        assert note.key
        self.waiting[note.key] = own = Own(note)
        self._store[note.key] = encode(own).decode()

    def drop(self, key: str) -> Own | None:
        """Forget a note of ours; gives what it was."""
        self._store.pop(key, None)
        return self.waiting.pop(key, None)

    def arrived(self, note: Note) -> bool:
        """Whether a note from the hub is one of ours, which the log shows from now on."""
        self.passed(note.seq)
        return note.key is not None and self.drop(note.key) is not None

    def passed(self, seq: int) -> None:
        """The hub has told everything up to `seq`: what was saved before that and did not come is deleted."""
        for key in [key for key, own in self.waiting.items() if own.seq is not None and own.seq < seq]:
            self.drop(key)

    def accepted(self, accepted: Accepted) -> None:
        """The hub has saved it; it comes with the others."""
        self._store.pop(accepted.key, None)
        if own := self.waiting.get(accepted.key):
            own.seq = accepted.seq

    def rejected(self, rejected: Rejected) -> None:
        """The hub will not have it."""
        self._store.pop(rejected.key, None)
        if own := self.waiting.get(rejected.key):
            own.error = rejected.error

    def rows(self, live: bool) -> Iterator[rows.Row]:
        """Their rows; while the page is not live they wait."""
        for key, own in self.waiting.items():
            yield rows.Row(f"own-{key}", _html(key, own, live))


def _html(key: str, own: Own, live: bool) -> str:
    kind, fate = "sending", "Sending…" if live else "Waits for the connection"
    if own.error:
        buttons = f'<button data-again="{key}">Try again</button><button data-drop="{key}">Discard</button>'
        kind, fate = "failed", f"<span>Not sent. {escape(in_words(own.error))}</span> {buttons}"
    elif own.seq is not None:
        kind, fate = "sent", "Sent"
    time = f'<time datetime="{own.written.isoformat()}">{own.written:%H:%M}</time>'
    below = f'<div class="fate">{fate}</div>'
    return rows.item(f"own-{key}", f"note own {kind}", own.note.username, time, rows.linked(own.note.body), below)
