"""Publish: adds a note. The ack follows the commit."""

import msgspec

from hub.feed.ports import Draft, Placed
from hub.protocol import Ack, Error, Publish
from hub.server.commands.registry import command
from hub.server.peer import Peer


@command(Publish)
def publish(peer: Peer, command: Publish) -> None:
    """Hand the note to the writer, and reply once it is committed or refused."""
    id = command.id

    def answer(result: Placed | Error) -> None:
        peer.in_flight -= 1
        if isinstance(result, Error):
            peer.reply(msgspec.structs.replace(result, id=id))
        else:
            peer.reply(Ack(id, result.seq, result.rowid))

    peer.in_flight += 1
    topic = command.topic or peer.home
    peer.context.writer.submit(Draft(topic, command.username, command.body, key=command.key), answer)
