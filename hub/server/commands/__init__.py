"""The commands of clients, one file each.

Owns what each command does. A file holds one function, marked with the struct from `hub.protocol.messages` that it
carries out; it is found by being here. The decoder and the dispatch are made from what was found. How commands arrive
and how replies leave is the session's business.
"""

import importlib
import pkgutil

import msgspec

from hub.errors import CommandError
from hub.protocol import messages
from hub.protocol.codec import CommandDecoder
from hub.server.commands.registry import HANDLERS
from hub.server.peer import Peer

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

_names = list(vars(messages))
KINDS = sorted(HANDLERS, key=lambda kind: _names.index(kind.__name__))
decode = CommandDecoder(KINDS).decode


async def carry_out(peer: Peer, command: msgspec.Struct) -> None:
    """Do what a client asks; it gets an error if that cannot be done."""
    try:
        later = HANDLERS[type(command)](peer, command)
        if later is not None:
            await later
    except CommandError as error:
        peer.reply(msgspec.structs.replace(error.error, id=command.id))  # type: ignore[attr-defined]
