"""The commands of clients, one file each.

Owns what each command does. A file holds one function, marked with the struct from `hub.protocol.messages` that it
carries out; it is found by being here. The decoder and the dispatch are made from what was found. How commands arrive
and how replies leave is the session's business.
"""

import importlib
import pkgutil
from collections.abc import Awaitable, Coroutine
from typing import Any

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


def carry_out(peer: Peer, command: msgspec.Struct) -> Coroutine[Any, Any, None] | None:
    """Do what a client asks; it gets an error if that cannot be done. Returns what is left to be awaited, or None."""
    try:
        later = HANDLERS[type(command)](peer, command)
    except CommandError as error:
        _refuse(peer, command, error)
        return None
    return None if later is None else _finish(peer, command, later)


async def _finish(peer: Peer, command: msgspec.Struct, later: Awaitable[None]) -> None:
    try:
        await later
    except CommandError as error:
        _refuse(peer, command, error)


def _refuse(peer: Peer, command: msgspec.Struct, error: CommandError) -> None:
    peer.reply(msgspec.structs.replace(error.error, id=command.id))  # type: ignore[attr-defined]
