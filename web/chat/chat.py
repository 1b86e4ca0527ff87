"""The chat, put together.

The only module of the page that knows all the others: what the hub says goes to `notes`, `own` and
`log`, what the reader writes to the hub's client, and the state of the connection to the status line.
"""

from typing import Any

from js import document, navigator, setTimeout
from pyodide.ffi import create_proxy

from chat import topics
from chat.browser import Storage, element, on
from chat.composer import Composer
from chat.link import Link
from chat.log import Log
from chat.notes import Notes
from chat.own import Owns
from hub.client.events import Accepted, Interrupted, Rejected, Signal
from hub.client.state import Client
from hub.protocol import LOBBY, CaughtUp, Deleted, Error, Note, Page, Publish, Reset, Status

PAGE = 50  # notes that the hub has put into the page, and that are asked for at once

PATIENCE = 3000  # ms before a question is put again that the hub could not answer
STATES = {  # of the connection, and what the reader is told
    "starting": "Connecting…",
    "live": "Live",
    "late": "The hub has lost its database; notes come later.",
    "waiting": "Reconnecting…",
    "offline": "You are offline. What you write is sent later.",
    "refused": "The hub has closed this page. Reload it to go on.",
}


class Chat:
    """One topic."""

    def __init__(self, topic: str, page: Page | None) -> None:
        self.topic = topic
        held = page.notes if page else []
        self.notes = Notes(held, whole=page is not None and len(held) < PAGE)
        self.own = Owns(Storage(f"note {topic} "))
        self.client = Client([topic], after=page.seq if page else None, last=PAGE)
        self.link = Link(self.client, self.tell, self.told)
        self.log = Log(self.notes, self.own, self.more, self.newest)
        self.composer = Composer(Storage(""), topic, self.write)
        self._asked = ""  # id of the history that is on its way
        self._replacing = False  # it replaces what is held
        self._patience = create_proxy(self._asked_in_vain)
        self._snapshot = page is None  # the newest notes are on their way, from nothing
        self._begun = False  # what comes was written after the page was opened

    def start(self) -> None:
        """Show what came with the page, send what an earlier one could not, and connect."""
        for note in self.own.kept():
            self._publish(note)
        self.log.draw()
        on(element("notes"), "click", self.clicked)
        self.state("starting")
        self.link.connect()
        topics.show(topics.visit(Storage(""), self.topic), LOBBY)

    def state(self, name: str) -> None:
        """Tell the reader how the connection is."""
        if document.body.dataset.state != name:
            document.body.dataset.state = name
            element("status").textContent = STATES[name]

    # What the hub says.

    def tell(self, signal: Signal) -> None:
        """Take in one signal."""
        match signal:
            case Note():
                self.note(signal)
            case Deleted():
                self.notes.remove(signal)
                self.own.passed(signal.seq)
            case Reset():
                self.reset(signal)
            case CaughtUp():
                self.caught_up(signal)
            case Accepted():
                self.own.accepted(signal)
            case Rejected():
                self.own.rejected(signal)
            case Page():
                self.page(signal)
            case Status():
                self.state("live" if signal.listening else "late")
            case Interrupted():
                self.interrupted(signal)
            case Error() if signal.id == self._asked:
                setTimeout(self._patience, PATIENCE)

    def told(self) -> None:
        """Some signals were taken in."""
        self.log.live = self.client.live
        self.log.changed()

    def note(self, note: Note) -> None:
        """A new note, or a change of one."""
        mine = self.own.arrived(note)
        is_new = self.notes.put(note)
        if is_new and not mine and self._begun and not self._snapshot:
            self.log.came(note)

    def reset(self, reset: Reset) -> None:
        """What is held does not count any more."""
        self.notes.forget()
        self.log.forget()
        self._asked, self._snapshot = "", reset.snapshot

    def caught_up(self, signal: CaughtUp) -> None:
        """What follows is live."""
        if self._snapshot:
            self.notes.whole = len(self.notes.held) < PAGE
        self._snapshot, self._begun = False, True
        self.own.passed(signal.seq)
        self.state("live")

    def page(self, page: Page) -> None:
        """An answer to `more` or `newest`."""
        if page.id == self._asked:
            self._asked = ""
            (self.notes.newest if self._replacing else self.notes.older)(page, PAGE)

    def interrupted(self, signal: Interrupted) -> None:
        """The connection is gone."""
        self._asked_in_vain()
        self.state("refused" if signal.delay is None else "waiting" if navigator.onLine else "offline")

    def _asked_in_vain(self) -> None:
        """The answer to `more` or `newest` will not come."""
        self._asked = ""
        self.notes.unasked()
        self.log.changed()

    # What the reader does.

    def write(self, username: str, text: str) -> None:
        """A note of ours."""
        self._publish(Publish(username, text, self.topic))
        self.log.to_end()

    def _publish(self, note: Publish) -> None:
        key = self.client.publish(note.username, note.body, self.topic, note.key)
        self.own.add(self.client.outbox[key])
        self.link.send()

    def more(self) -> None:
        """Ask for notes older than all that are held."""
        self._ask(self.notes.held[0].rowid if self.notes.held else None, replacing=False)

    def newest(self) -> None:
        """Ask for the newest notes, in place of those that are held."""
        self._ask(None, replacing=True)

    def _ask(self, before: int | None, replacing: bool) -> None:
        if not self._asked and (id := self.client.history(self.topic, before, PAGE)):
            self._asked, self._replacing = id, replacing
            self.notes.asked()
            self.link.send()

    def clicked(self, event: Any) -> None:
        """A button of a note that was refused."""
        again, drop = (event.target.getAttribute(f"data-{what}") for what in ("again", "drop"))
        if own := self.own.drop(again or drop or ""):
            if again:
                self._publish(Publish(own.note.username, own.note.body, self.topic))
            self.log.changed()
