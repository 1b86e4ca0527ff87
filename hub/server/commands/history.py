"""History: a page of notes, the newest or those before a rowid."""

from hub.protocol import ALL, History, Page
from hub.server.commands.registry import command
from hub.server.peer import Peer


@command(History)
async def history(peer: Peer, command: History) -> None:
    """Read the page from the database, and reply with it."""
    topics = None if command.topic == ALL else [command.topic]
    notes, seq = await peer.context.store.notes(topics, command.limit, command.before)
    peer.reply(Page(notes, seq, command.id))
