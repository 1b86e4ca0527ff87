"""What a client told its user, topic by topic: the evidence that a run is judged by."""

from dataclasses import dataclass, field
from typing import NamedTuple

from hub.protocol import Deleted, Note


class Seen(NamedTuple):
    """An event as the client told it."""

    seq: int
    kind: str  # note, deleted or reset
    rowid: int | None = None
    row: tuple[str, str, str] | None = None  # topic, username, body


@dataclass
class Period:
    """The time in which a client follows a topic: it must see everything in it after `start`."""

    topic: str
    start: int | None  # None: not known before the hub has said it
    seen: list[Seen] = field(default_factory=list)
    closed: bool = False


def seen_of(message: Note | Deleted) -> Seen:
    """The record of an event."""
    if isinstance(message, Deleted):
        return Seen(message.seq, "deleted", message.rowid)
    return Seen(message.seq, "note", message.rowid, (message.topic, message.username, message.body))
