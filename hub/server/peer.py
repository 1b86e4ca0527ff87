"""A WebSocket client, as commands see it.

Owns what a command may use: the hub's parts, the client's subscription, its reply, and the count of its notes that are
not acknowledged yet.
"""

from hub.delivery.outgoing import Outgoing
from hub.protocol import LOBBY, Message
from hub.protocol.formats import Format
from hub.server.context import Context


class Peer:
    """One client. `home` is the topic of a note that names none."""

    __slots__ = ("context", "home", "in_flight", "outgoing", "subscription")

    def __init__(self, context: Context, outgoing: Outgoing, format: Format) -> None:
        self.context = context
        self.outgoing = outgoing
        self.subscription = context.subscription(outgoing, format)
        self.home = LOBBY
        self.in_flight = 0  # notes that wait for their acks

    def reply(self, message: Message) -> None:
        """Send a message; the replies of one turn of the event loop are written together."""
        if data := self.subscription.format(message):
            self.outgoing.reply(data)
