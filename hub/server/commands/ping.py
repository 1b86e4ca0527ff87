"""Ping: asks for a pong, for clients that cannot send WebSocket pings."""

from hub.protocol import Ping, Pong
from hub.server.commands.registry import command
from hub.server.peer import Peer


@command(Ping)
def ping(peer: Peer, command: Ping) -> None:
    """Reply with a pong."""
    peer.reply(Pong(command.id))
