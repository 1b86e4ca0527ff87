"""The chat, put together.

Owns the way between the parts: client events go to `notes`, `own` and `log`, what the reader writes goes to the client,
and the state of the connection goes to the status line. It is the only module that knows all the others, and it never
touches their part of the page.
"""

from typing import Any

from js import document, navigator

from chat import topics
from chat.browser import Storage, Timer, element, on
from chat.composer import Composer
from chat.link import Link
from chat.log import Log
from chat.notes import Notes
from chat.own import Owns
from chat.status import ConnectionStatus
from hub.client.events import Accepted, ClientEvent, Interrupted, Rejected
from hub.client.state import Client
from hub.page.note_html import PAGE_NOTES
from hub.protocol import LOBBY, CaughtUp, Deleted, Error, Note, Page, Publish, Reset

PATIENCE = 3.0  # seconds until a request for history that failed is made again


class Chat:
    """The chat of one topic. `page` holds the notes that came with the HTML; None if the hub could not read them."""

    def __init__(self, topic: str, page: Page | None) -> None:
        self.topic = topic
        held = page.notes if page else []
        self.notes = Notes(held, whole=page is not None and len(held) < PAGE_NOTES)
        self.own = Owns(Storage(f"note {topic} "))
        self.status = ConnectionStatus()
        self.client = Client([topic], after=page.seq if page else None, last=PAGE_NOTES)
        self.link = Link(self.client, self.tell, self.told)
        self.log = Log(self.notes, self.own, self.more, self.newest)
        self.composer = Composer(Storage(""), topic, self.write)
        self._asked = ""  # id of the request for history that is under way
        self._replacing = False  # its answer replaces the notes that are held
        self._patience = Timer(self._asked_in_vain)
        self._snapshot = page is None  # a snapshot is being received
        self._begun = False  # notes that come now were written after the page was opened

    def start(self) -> None:
        """Show the notes that came with the page, send those that an earlier page could not send, and connect."""
        for note in self.own.kept():
            self._publish(note)
        self.log.draw()
        on(element("notes"), "click", self.clicked)
        self.show_status()
        self.link.connect()
        topics.show(topics.visit(Storage(""), self.topic), LOBBY)

    def show_status(self) -> None:
        """Show the reader the state of the connection."""
        state = self.status.state(self.client.live, navigator.onLine)
        if document.body.dataset.state != state:
            document.body.dataset.state = state
            element("status").textContent = self.status.words(state)

    # What the client tells.

    def tell(self, event: ClientEvent) -> None:
        """Handle one client event."""
        self.status.take(event)
        match event:
            case Note():
                self.note(event)
            case Deleted():
                self.notes.remove(event)
                self.own.passed(event.seq)
            case Reset():
                self.reset(event)
            case CaughtUp():
                self.caught_up(event)
            case Accepted():
                self.own.accepted(event)
            case Rejected():
                self.own.rejected(event)
            case Page():
                self.page(event)
            case Interrupted():
                self._asked_in_vain()
            case Error() if event.id == self._asked:
                self._patience.start(PATIENCE)

    def told(self) -> None:
        """Update the page after some client events."""
        self.show_status()
        self.log.live = self.client.live
        self.log.changed()

    def note(self, note: Note) -> None:
        """Handle a note that is new or was changed."""
        mine = self.own.arrived(note)
        is_new = self.notes.put(note)
        if is_new and not mine and self._begun and not self._snapshot:
            self.log.came(note)

    def reset(self, reset: Reset) -> None:
        """Forget the notes that are held: they cannot be brought up to date."""
        self.notes.forget()
        self.log.forget()
        self._unask()
        self._snapshot = reset.snapshot

    def caught_up(self, event: CaughtUp) -> None:
        """Handle the end of a catch-up: events are live from now on."""
        if self._snapshot:
            self.notes.whole = len(self.notes.held) < PAGE_NOTES
        self._snapshot, self._begun = False, True
        self.own.passed(event.seq)

    def page(self, page: Page) -> None:
        """Take in the answer to `more` or `newest`."""
        if page.id == self._asked:
            self._unask()
            (self.notes.newest if self._replacing else self.notes.older)(page, PAGE_NOTES)

    def _asked_in_vain(self) -> None:
        """Stop waiting for the answer to `more` or `newest`, which will not come."""
        self._unask()
        self.notes.unasked()
        self.log.changed()

    def _unask(self) -> None:
        self._asked = ""
        self._patience.stop()

    # What the reader does.

    def write(self, username: str, text: str) -> None:
        """Publish a note that the reader wrote."""
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
        """Ask for the newest notes, to replace those that are held."""
        self._ask(None, replacing=True)

    def _ask(self, before: int | None, replacing: bool) -> None:
        if not self._asked and (id := self.client.history(self.topic, before, PAGE_NOTES)):
            self._asked, self._replacing = id, replacing
            self.notes.asked()
            self.link.send()

    def clicked(self, event: Any) -> None:
        """Handle the two buttons of a refused note: try again, and discard."""
        again, drop = (event.target.getAttribute(f"data-{what}") for what in ("again", "drop"))
        if own := self.own.drop(again or drop or ""):
            if again:
                self._publish(Publish(own.note.username, own.note.body, self.topic))
            self.log.changed()
