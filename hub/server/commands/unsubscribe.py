"""Unsubscribe: stops following a topic."""

from hub.errors import CommandError
from hub.protocol import ALL, Ack, Error, Unsubscribe
from hub.server.commands.registry import command
from hub.server.peer import Peer


@command(Unsubscribe)
def unsubscribe(peer: Peer, command: Unsubscribe) -> None:
    """Remove the topic. The ack carries the present position."""
    current = peer.subscription.topics
    if command.topic not in current or (ALL in current and command.topic != ALL):
        hint = f"You follow: {ALL if ALL in current else ', '.join(sorted(current)) or 'nothing'}."
        raise CommandError(Error("not_subscribed", f"You do not follow {command.topic!r}.", hint))
    peer.subscription.remove(command.topic)
    peer.reply(Ack(command.id, peer.context.broadcaster.head))
