"""What Postgres says of a change on the channel: the trigger's payload, and the event that it makes.

Owns the payload's form, which `sql/` writes. Whether it comes in order is the listener's to see.
"""

from datetime import datetime
from typing import Final

import msgspec

from hub.feed.events import Event
from hub.protocol import Deleted, Note

CHANNEL: Final = "channel_note"


class Notification(msgspec.Struct, gc=False):
    """The payload: the row's columns with `seq`, `prev` and `op`; a large row comes without its columns."""

    seq: int
    prev: int
    op: str
    rowid: int | None = None
    topic: str | None = None
    username: str | None = None
    body: str | None = None
    created_timestamp: datetime | None = None
    updated_timestamp: datetime | None = None
    key: str | None = None

    def event(self) -> Event | None:
        """The event, or None where the payload does not hold all of it."""
        if self.op == "delete" and self.rowid is not None and self.topic is not None:
            return Event(self.seq, self.topic, Deleted(self.seq, self.rowid, self.topic))
        if self.username is None or self.rowid is None or self.topic is None:
            return None
        note = Note(
            self.seq,
            self.rowid,
            self.topic,
            self.username,
            self.body or "",
            self.created_timestamp,  # type: ignore[arg-type]  # a row that has one column has them all
            self.updated_timestamp,  # type: ignore[arg-type]
            self.key,
        )
        return Event(self.seq, self.topic, note)


decode = msgspec.json.Decoder(Notification).decode
