"""Notifications of Postgres: the payload of a trigger, decoded to an event.

Owns the payload's form, which the functions in ``sql/`` write, and the event that a note makes. Whether notifications
come in order is the listener's business.
"""

from datetime import datetime
from typing import Final

import msgspec

from hub.feed.events import SIZE, Event
from hub.protocol import Deleted, Note

CHANNEL: Final = "channel_note"


def note_event(note: Note) -> Event:
    """The event of a note that was inserted or changed."""
    return Event(note.seq, note.topic, note, SIZE + 8 * len(note.body))  # up to 4 bytes a character, in two formats


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
        """The event, or None where the payload does not hold a whole note: then the log tells what there is."""
        if self.op == "delete" and self.rowid is not None and self.topic is not None:
            return Event(self.seq, self.topic, Deleted(self.seq, self.rowid, self.topic))
        if (
            self.rowid is None
            or self.topic is None
            or self.username is None
            or self.body is None
            or self.created_timestamp is None
            or self.updated_timestamp is None
        ):
            return None
        return note_event(
            Note(
                self.seq,
                self.rowid,
                self.topic,
                self.username,
                self.body,
                self.created_timestamp,
                self.updated_timestamp,
                self.key,
            )
        )


decode = msgspec.json.Decoder(Notification).decode
