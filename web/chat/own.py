"""The outbox as the reader sees it: notes written here that are not in the log yet.

Owns what becomes of each, by its `key`: sending, sent, or refused. None is lost when the page is closed: they are kept
in the browser, and the next page of the topic sends them again; the hub saves each key once. It never sends anything
itself.
"""

from collections.abc import Iterator, MutableMapping
from datetime import datetime
from html import escape

import msgspec

from hub.client.events import Accepted, Rejected
from hub.page import note_html
from hub.page.form import in_words
from hub.protocol import Error, Note, Publish
from hub.protocol.codec import encode


class Own(msgspec.Struct):
    """One note of ours: saved at log position `seq`, refused with an `error`, or being sent (neither)."""

    note: Publish
    error: Error | None = None
    seq: int | None = None
    written: datetime = msgspec.field(default_factory=lambda: datetime.now().astimezone())


class Owns:
    """Our notes by key, in the order in which they were written. `store` keeps them beyond the page, as JSON."""

    def __init__(self, store: MutableMapping[str, str]) -> None:
        self._store = store
        self.waiting: dict[str, Own] = {}

    def kept(self) -> list[Publish]:
        """The notes that an earlier page could not send. A stored text that cannot be read is deleted."""
        found = []
        for name in list(self._store):
            try:
                found.append(msgspec.json.decode(self._store[name], type=Own))
            except msgspec.DecodeError:
                del self._store[name]
        return [own.note for own in sorted(found, key=lambda own: own.written)]

    def add(self, note: Publish) -> None:
        """Keep a note that is being sent. It must have a key."""
        assert note.key
        self.waiting[note.key] = own = Own(note)
        self._store[note.key] = encode(own).decode()

    def drop(self, key: str) -> Own | None:
        """Forget one of our notes. Returns it, or None if there is none with this key."""
        self._store.pop(key, None)
        return self.waiting.pop(key, None)

    def arrived(self, note: Note) -> bool:
        """Take a note of the hub. Returns whether it was one of ours; then it is in the log, and forgotten here."""
        self.passed(note.seq)
        return note.key is not None and self.drop(note.key) is not None

    def passed(self, seq: int) -> None:
        """Note that the hub has sent everything up to `seq`.

        A note that was saved before that, and did not come, was deleted; it is forgotten.
        """
        for key in [key for key, own in self.waiting.items() if own.seq is not None and own.seq < seq]:
            self.drop(key)

    def accepted(self, accepted: Accepted) -> None:
        """Mark a note as saved. It stays here until the hub sends it."""
        self._store.pop(accepted.key, None)
        if own := self.waiting.get(accepted.key):
            own.seq = accepted.seq

    def rejected(self, rejected: Rejected) -> None:
        """Mark a note as refused."""
        self._store.pop(rejected.key, None)
        if own := self.waiting.get(rejected.key):
            own.error = rejected.error

    def rows(self, live: bool) -> Iterator[note_html.Row]:
        """The rows of our notes. `live` says whether the page is connected."""
        for key, own in self.waiting.items():
            yield note_html.Row(f"own-{key}", _html(key, own, live))


def _html(key: str, own: Own, live: bool) -> str:
    kind, fate = "sending", "Sending…" if live else "Waits for the connection"
    if own.error:
        buttons = f'<button data-again="{key}">Try again</button><button data-drop="{key}">Discard</button>'
        kind, fate = "failed", f"<span>Not sent. {escape(in_words(own.error))}</span> {buttons}"
    elif own.seq is not None:
        kind, fate = "sent", "Sent"
    time = f'<time datetime="{own.written.isoformat()}">{own.written:%H:%M}</time>'
    below = f'<div class="fate">{fate}</div>'
    text = note_html.linked(own.note.body)
    return note_html.item(f"own-{key}", f"note own {kind}", own.note.username, time, text, below)
