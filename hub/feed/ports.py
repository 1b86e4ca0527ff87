"""What the feed needs of a log, wherever the log is kept.

Owns the interfaces that a source of events implements (`hub.postgres` is one), and the values that pass between them.
Their methods raise Unavailable while the log cannot be reached, and Refused for what it does not accept (`hub.errors`).
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import msgspec

from hub.errors import CommandError
from hub.feed.events import Event
from hub.protocol import Message


class Draft(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A note to be published; the fields are valid already."""

    topic: str
    username: str
    body: str
    author: str | None = None
    key: str | None = None


class Placed(NamedTuple):
    """Where a published note stands in the table and in the log."""

    rowid: int
    seq: int


class EventSource(Protocol):
    """Hears every event of a log and publishes it to a Broadcaster, in order and once."""

    ready: asyncio.Event  # set while it hears the log and has published everything up to its head
    gaps: int  # times that it read the log because an event did not follow the one before
    reconnects: int

    async def run(self) -> None:
        """Hear until cancelled. Raises NotListening if this log cannot be heard at all."""


class Log(Protocol):
    """Reads of the log, for clients that catch up."""

    async def events(self, after: int, until: int | None, topics: Sequence[str] | None, limit: int) -> list[Event]:
        """The events with after < seq <= until (None: up to the head) of topics (None: all), in order."""

    async def holds(self, seq: int) -> bool:
        """Whether a cursor is a position of this log."""

    async def snapshot(self, topics: Sequence[str] | None, last: int) -> tuple[Sequence[Message], int]:
        """The newest `last` items in the order of their creation, and the seq at which they are current."""


class NoteTarget(Protocol):
    """Where published notes go."""

    async def publish(self, drafts: Sequence[Draft], apart: bool = False) -> Iterable[Placed | CommandError | None]:
        """Insert notes, in order; None for a note that the database dropped, and its error for one that failed alone.

        The error is Held for a note that another transaction holds up: waiting for it would hold up everybody. One
        caller at a time, and one more with `apart`.
        """
