"""Client events: what a client tells its user.

Owns the events that a client adds to the hub's own messages, and the union of both. It never does input or output, and
needs only the standard library and msgspec, since the browser runs it too.
"""

from typing import NamedTuple

from hub.protocol import CaughtUp, Deleted, Error, Note, Page, Reset, Status


class Interrupted(NamedTuple):
    """The connection ended, or could not be made.

    `code` is the close code (`hub.protocol.codes`; 1006 if the connection broke), and `reason` a text for people. The
    client connects again after `delay` seconds and resumes at its cursor; None means that it does not connect again.
    """

    code: int
    reason: str
    delay: float | None


class Accepted(NamedTuple):
    """The note that was published under `key` is committed as `rowid`; `seq` is the log position of its last change."""

    key: str
    seq: int
    rowid: int


class Rejected(NamedTuple):
    """The hub refused the note that was published under `key`. The client does not send it again."""

    key: str
    error: Error


# A Reset marks a gap that cannot be filled. After a CaughtUp, events are live.
ClientEvent = Note | Deleted | Reset | CaughtUp | Status | Page | Error | Interrupted | Accepted | Rejected
