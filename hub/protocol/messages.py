"""The messages of the protocol ``notes.v1``, and the limits of their fields.

Owns what messages look like and what is valid; ``docs/protocol.md`` says the same in prose. A command (client to hub)
needs a file in ``hub/server/commands/`` too, which carries it out.
"""

from datetime import datetime
from typing import Annotated, Final

from msgspec import Meta, Struct

PROTOCOL: Final = "notes.v1"
LOBBY: Final = "lobby"
ALL: Final = "*"

# At least one visible character, and no NUL, which Postgres cannot store in a text.
VISIBLE: Final = r"\A[^\x00]*[^\s\x00][^\x00]*\Z"
ONE_TOPIC: Final = r"\A(?!\*\Z)[^\x00]*[^\s\x00][^\x00]*\Z"  # nor the sign for all topics
MAX_LENGTH: Final = 140  # characters (code points), as the columns of table note
MAX_PAGE: Final = 1000  # notes in one answer to `history`, or of `last`

Name = Annotated[str, Meta(min_length=1, max_length=MAX_LENGTH, pattern=VISIBLE)]
Topic = Annotated[str, Meta(min_length=1, max_length=MAX_LENGTH, pattern=ONE_TOPIC)]
Id = int | str
Seq = Annotated[int, Meta(ge=0, le=2**53 - 1)]  # microseconds; JavaScript holds it exactly
Rowid = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Limit = Annotated[int, Meta(ge=1, le=MAX_PAGE)]


# gc=False: a struct of texts, numbers and times cannot be part of a cycle, so the collector need not visit it.

# Client → hub. `id` is chosen by the client and repeated in the reply.


class Publish(Struct, tag="publish", gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """Adds a note. With a `key` it can be sent again safely: the same key is the same note."""

    username: Annotated[Name, Meta(title="Name")]  # the titles are the labels of a form
    body: Annotated[Name, Meta(title="Note")]
    topic: Topic | None = None
    key: Name | None = None
    id: Id | None = None


class Subscribe(Struct, tag="subscribe", forbid_unknown_fields=True, omit_defaults=True):
    """Adds a topic; with `after`, first what happened in it after that cursor."""

    topic: Name
    after: Seq | None = None
    id: Id | None = None


class Unsubscribe(Struct, tag="unsubscribe", forbid_unknown_fields=True, omit_defaults=True):
    """Drops a topic."""

    topic: Name
    id: Id | None = None


class History(Struct, tag="history", forbid_unknown_fields=True, omit_defaults=True):
    """Asks for the newest notes of a topic, or the newest below rowid `before`."""

    topic: Name = LOBBY
    before: Rowid | None = None
    limit: Limit = 50
    id: Id | None = None


class Ping(Struct, tag="ping", forbid_unknown_fields=True, omit_defaults=True):
    """Asks for a `pong`; for clients that cannot send WebSocket pings."""

    id: Id | None = None


# Hub → client.


class Note(Struct, tag="note", gc=False, omit_defaults=True):
    """A note as it is at `seq`: inserted, or changed. Apply it as an upsert by `rowid`.

    Holds whatever the table holds: rows that others write are not bound to the rules of Publish.
    """

    seq: int
    rowid: int
    topic: str
    username: str
    body: str
    created_timestamp: datetime
    updated_timestamp: datetime
    key: str | None = None


class Deleted(Struct, tag="deleted", gc=False):
    """The note `rowid` is gone from `topic`."""

    seq: int
    rowid: int
    topic: str


class Reset(Struct, tag="reset", omit_defaults=True):
    """What the client holds (of `topic`, or all) can't be brought up to date: forget it, and go on from `seq`.

    With `snapshot` the newest notes follow, as asked for with `last`, up to `caught_up`.
    """

    seq: int
    reason: str
    topic: str | None = None
    snapshot: bool = False


class CaughtUp(Struct, tag="caught_up"):
    """Everything up to `seq` was sent; what follows is live."""

    seq: int


class Limits(Struct):
    """What a client may do at most: bytes, characters, counts, seconds."""

    frame: int
    text: int
    topics: int
    page: int
    ping_interval: float


class Welcome(Struct, tag="welcome"):
    """The first message. Nothing committed after `seq` will be missed."""

    protocol: str
    hub: str
    seq: int
    topics: list[str]
    limits: Limits


class Status(Struct, tag="status"):
    """Whether the hub hears the database. While it does not, notes are late but not lost."""

    listening: bool


class Ack(Struct, tag="ack", gc=False, omit_defaults=True):
    """The command `id` is done; of a publish, the note is committed as `rowid`."""

    id: Id | None = None
    seq: int | None = None
    rowid: int | None = None


class Page(Struct, tag="page", omit_defaults=True):
    """Notes in the order of their creation. Whoever streams on from `seq` misses nothing."""

    notes: list[Note]
    seq: int
    id: Id | None = None


class Pong(Struct, tag="pong", omit_defaults=True):
    """The answer to `ping`."""

    id: Id | None = None


class Error(Struct, tag="error", omit_defaults=True):
    """Something was refused; nothing of it was done. `temporary`: the same may work later."""

    code: str
    message: str
    hint: str
    temporary: bool = False
    id: Id | None = None


Message = Note | Deleted | Reset | CaughtUp | Welcome | Status | Ack | Page | Pong | Error
