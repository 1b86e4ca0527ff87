"""Subscribe: follows one more topic, from now on or after a cursor."""

from hub.errors import CommandError
from hub.protocol import ALL, Ack, Error, Subscribe
from hub.server.commands.registry import command
from hub.server.peer import Peer
from hub.server.stream_query import too_many_topics


@command(Subscribe)
def subscribe(peer: Peer, command: Subscribe) -> None:
    """Add the topic. The ack, with the cursor from which the topic is complete, precedes its events."""
    topic, current, context = command.topic, peer.subscription.topics, peer.context
    if ALL in current and topic != ALL:
        hint = "Unsubscribe from `*` first, or leave it at that."
        raise CommandError(Error("already_subscribed", "`*` covers every topic.", hint))
    if topic not in current and topic != ALL and len(current) >= context.settings.max_topics:
        raise CommandError(too_many_topics(context.settings.max_topics))
    peer.reply(Ack(command.id, context.broadcaster.head if command.after is None else command.after))
    peer.outgoing.flush()
    peer.subscription.add(topic, command.after)
