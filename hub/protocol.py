"""The protocol ``notes.v1``: every message, limit and code that hub and clients share.

Owns what messages look like and what is valid; ``docs/protocol.md`` tells the same in prose. It
does no input or output and imports the standard library and msgspec only, so that the very same
file runs in the hub, in terminals, in tests and in the browser.
"""

from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

PROTOCOL: Final = "notes.v1"
LOBBY: Final = "lobby"
ALL: Final = "*"

# At least one visible character, and no NUL, which Postgres cannot store in a text.
VISIBLE: Final = r"\A[^\x00]*[^\s\x00][^\x00]*\Z"
MAX_LENGTH: Final = 140  # characters (code points), as the columns of table note
MAX_PAGE: Final = 1000  # notes in one answer to `history`, or of `last`

Name = Annotated[str, Meta(min_length=1, max_length=MAX_LENGTH, pattern=VISIBLE)]
Id = int | str
Cursor = Annotated[int, Meta(ge=0, le=2**53 - 1)]  # a seq: microseconds, exact in JavaScript too
Rowid = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Limit = Annotated[int, Meta(ge=1, le=MAX_PAGE)]


# Client → hub. `id` is the client's own and comes back in the reply.


class Publish(Struct, tag="publish", forbid_unknown_fields=True, omit_defaults=True):
    """Adds a note. With a `key` it can be sent again safely: the same key is the same note."""

    username: Name
    body: Name
    topic: Name | None = None
    key: Name | None = None
    id: Id | None = None


class Subscribe(Struct, tag="subscribe", forbid_unknown_fields=True, omit_defaults=True):
    """Adds a topic; with `after`, first what happened in it after that cursor."""

    topic: Name
    after: Cursor | None = None
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


Command = Publish | Subscribe | Unsubscribe | History | Ping


# Hub → client.


class Note(Struct, tag="note", omit_defaults=True):
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


class Deleted(Struct, tag="deleted"):
    """The note `rowid` is gone from `topic`."""

    seq: int
    rowid: int
    topic: str


class Reset(Struct, tag="reset", omit_defaults=True):
    """What the client holds (of `topic`, or all) can't be brought up to date: forget it, and go on from `seq`."""

    seq: int
    reason: str
    topic: str | None = None


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


class Ack(Struct, tag="ack", omit_defaults=True):
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


Event = Note | Deleted | Reset
Message = Event | CaughtUp | Welcome | Status | Ack | Page | Pong | Error

_commands: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command)
_bare = msgspec.json.Decoder(Publish)
_messages: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)
_objects = msgspec.json.Decoder(dict[str, Any])
# What a decoder raises; UnicodeError for a str with a lone surrogate too, RecursionError for thousands of brackets.
UNDECODABLE: Final = (msgspec.DecodeError, UnicodeError, RecursionError)
encode = msgspec.json.Encoder().encode


class CommandError(Exception):
    """A command that cannot be carried out; `error` is the reply to it."""

    def __init__(self, error: Error) -> None:
        super().__init__(error.message)
        self.error = error


def decode_command(data: bytes) -> Command:
    """A client's message. An object without a `type` is a publish. Raises CommandError."""
    try:
        if b'"type"' not in data:
            return _bare.decode(data)
        try:
            return _commands.decode(data)
        except msgspec.ValidationError:
            if "type" in _objects.decode(data):
                raise
            return _bare.decode(data)
    except UNDECODABLE as error:
        raise CommandError(explain(error, _id_of(data))) from error


def decode_message(data: bytes | str) -> Message:
    """A hub's message. Raises msgspec.DecodeError."""
    return _messages.decode(data)


def _id_of(data: bytes) -> Id | None:
    try:
        value = _objects.decode(data).get("id")
    except UNDECODABLE:
        return None
    return value if isinstance(value, str | int) and not isinstance(value, bool) else None


EXAMPLE: Final = '{"type":"publish","username":"gb","body":"Hello World!"}'
COMMANDS: Final = "publish, subscribe, unsubscribe, history, ping"


def explain(error: Exception, id: Id | None = None) -> Error:
    """The reply to a message that could not be decoded: msgspec's own words, and a hint for people."""
    message = str(error)
    if not isinstance(error, msgspec.ValidationError):
        return Error("invalid_json", message, f"Send one JSON object as UTF-8 text, such as {EXAMPLE}", id=id)
    problem, _, path = message.partition(" - at ")
    field = path.strip("`").removeprefix("$.")
    return Error("invalid_message", message, _hint(problem, f"`{field}`" if field else "It"), id=id)


def _hint(problem: str, field: str) -> str:
    if field == "`type`":
        return f"`type` is one of {COMMANDS}; an object without it is a publish."
    if "matching regex" in problem or "length >= 1" in problem:
        return f"{field} needs at least one visible character, and no NUL."
    if f"length <= {MAX_LENGTH}" in problem:
        return f"{field} is too long: at most {MAX_LENGTH} characters."
    if "missing required field" in problem:
        return f"Add the field, as in {EXAMPLE}"
    if "unknown field" in problem:
        return f"Remove the field, or mend its spelling; an example: {EXAMPLE}"
    if "got `array`" in problem or "Expected `object`" in problem:
        return f"Send one JSON object, such as {EXAMPLE}"
    return f"{field} has a value that it cannot have: {problem[0].lower()}{problem[1:]}."


# Close codes say what to do next (RFC 6455 §7.4 for those below 3000; the others follow Centrifugo's
# ranges: 3000–3499 reconnect, 3500–3999 do not).
GOING_AWAY: Final = 1001
TOO_BIG: Final = 1009
STALLED: Final = 3008
BAD_REQUEST: Final = 3501
FORBIDDEN: Final = 3507


def may_reconnect(code: int) -> bool:
    """Whether a client that was closed with this code should come back (with full jitter)."""
    return code != TOO_BIG and not 3500 <= code < 4000
