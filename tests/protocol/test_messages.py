"""The messages themselves: their tags, and what the close codes say."""

from typing import get_args

from hub.protocol import Command, Message, may_reconnect
from hub.protocol import messages as protocol


def test_every_kind_has_a_tag_of_its_own() -> None:
    """No two messages of one direction share a type, so that a client can tell them apart."""
    for union in (Command, Message):
        kinds = [kind for kind in get_args(union) if isinstance(kind, type)]
        assert len({kind.__struct_config__.tag for kind in kinds}) == len(kinds) >= 5


def test_may_reconnect() -> None:
    """Who went away, stalled or lost the line comes back; who was refused, or sent too much, does not."""
    for code in (1000, protocol.GOING_AWAY, 1006, 1012, 3001, protocol.STALLED, 3499, 4000):
        assert may_reconnect(code), code
    for code in (protocol.TOO_BIG, 3500, protocol.BAD_REQUEST, protocol.FORBIDDEN, 3999):
        assert not may_reconnect(code), code
