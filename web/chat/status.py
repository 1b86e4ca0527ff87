"""What the reader is told of the connection.

Owns the sentences, and which of them follows from the client events: the hub that cannot be reached, the hub that
cannot reach its database, and the hub that refuses the page are three different things. It never does input or output
and knows no browser.
"""

from typing import Final

from hub.client.events import ClientEvent, Interrupted
from hub.page.form import in_words
from hub.protocol import CaughtUp, Error, Status

BROKEN: Final = 1006  # the close code of a connection that broke or could not be made (RFC 6455 §7.4.1)
STATES: Final = {  # state of the connection → what the reader is told
    "starting": "Connecting…",
    "live": "Live",
    "late": "The hub can’t reach its database. What you write is sent later.",
    "waiting": "Reconnecting…",
    "unreachable": "The hub can’t be reached. What you write is sent later.",
    "offline": "You are offline. What you write is sent later.",
    "refused": "The hub has refused this page.",
}


class ConnectionStatus:
    """The state of one client's connection, as its events tell it."""

    def __init__(self) -> None:
        self._ended: Interrupted | None = None  # the end of the last connection, until the next one is there
        self._reason: Error | None = None  # the last message of the hub, if it says why it closes
        self._listening = True
        self._caught_up = False  # in this connection

    def take(self, event: ClientEvent) -> None:
        """Take one client event."""
        if isinstance(event, Interrupted):
            self._ended, self._listening, self._caught_up = event, True, False
            return
        self._ended = None
        self._reason = event if isinstance(event, Error) and event.id is None else None
        if isinstance(event, Status):
            self._listening = event.listening
        elif isinstance(event, CaughtUp):
            # Before its welcome the hub may say that it does not hear the database; the welcome says that it does.
            self._listening = self._listening or not self._caught_up
            self._caught_up = True

    def state(self, live: bool, online: bool) -> str:
        """The state, one of STATES. `live` is whether the client is, `online` whether the browser has a network."""
        if self._ended is None:
            return "late" if not self._listening else "live" if live else "starting"
        if self._ended.delay is None:
            return "refused"
        if not online:
            return "offline"
        return "unreachable" if self._ended.code == BROKEN else "waiting"

    def words(self, state: str) -> str:
        """The sentences for a state."""
        if state != "refused":
            return STATES[state]
        reason = f" {in_words(self._reason)}" if self._reason else ""
        return f"{STATES[state]}{reason} Reload it to try again."
