"""The messages themselves: their tags, and what the close codes say."""

from typing import get_args

from hub.protocol import Message, codes, may_reconnect
from hub.server.commands import KINDS


def test_every_kind_has_a_tag_of_its_own() -> None:
    """No two messages of one direction share a type, so that a client can tell them apart."""
    for kinds in (KINDS, get_args(Message)):
        assert len({kind.__struct_config__.tag for kind in kinds}) == len(kinds) >= 5


def test_may_reconnect() -> None:
    """Who went away, stalled or lost the line comes back; who was refused, or sent too much, does not."""
    for code in (1000, codes.GOING_AWAY, 1006, 1012, 3001, codes.STALLED, 3499, 4000):
        assert may_reconnect(code), code
    for code in (codes.TOO_BIG, 3500, codes.BAD_REQUEST, codes.FORBIDDEN, 3999):
        assert not may_reconnect(code), code
