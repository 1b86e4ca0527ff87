"""What a client tells its user, beside the hub's own messages.

Standard library and msgspec only, as `client`, which gives them.
"""

from typing import NamedTuple

from hub.protocol import CaughtUp, Deleted, Error, Note, Page, Reset, Status


class Interrupted(NamedTuple):
    """The connection is gone. After `delay` seconds it is tried anew and goes on where it was; None: it is not."""

    code: int
    reason: str
    delay: float | None


class Accepted(NamedTuple):
    """The note that was published under `key` is committed."""

    key: str
    seq: int
    rowid: int


class Rejected(NamedTuple):
    """The note that was published under `key` was not saved and is not sent again."""

    key: str
    error: Error


# What a user learns. A Reset is a gap that nothing can fill; a CaughtUp says that what follows is live.
Signal = Note | Deleted | Reset | CaughtUp | Status | Page | Error | Interrupted | Accepted | Rejected
