"""The registry of commands.

Owns the decorator by which a file in this folder says which message it carries out.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from hub.server.peer import Peer

S = TypeVar("S", bound=msgspec.Struct)
Handler = Callable[[Peer, Any], Awaitable[None] | None]

HANDLERS: dict[type[msgspec.Struct], Handler] = {}


def command(kind: type[S]) -> Callable[[Callable[[Peer, S], Awaitable[None] | None]], Handler]:
    """Register a function as the one that carries out messages of this struct.

    The function replies through the peer, now or later. It raises CommandError for a command that cannot be carried
    out.
    """

    def register(handler: Callable[[Peer, S], Awaitable[None] | None]) -> Handler:
        assert kind not in HANDLERS, f"{kind.__name__} has two handlers"
        HANDLERS[kind] = handler
        return handler

    return register
