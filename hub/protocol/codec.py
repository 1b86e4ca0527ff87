"""Messages to bytes and back, and what is wrong with a message that is none.

Owns the decoders and every sentence about invalid input, so that browser, terminal and hub say the
same of the same mistake. Standard library and msgspec only, as `protocol`.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final, TypeVar

import msgspec

from hub.errors import CommandError
from hub.protocol import ALL, LOBBY, Command, Error, Id, Message, Publish

T = TypeVar("T")

_commands: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command)
_bare = msgspec.json.Decoder(Publish)
_messages: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)
_objects = msgspec.json.Decoder(dict[str, Any])
# What a decoder raises; UnicodeError for a str with a lone surrogate too, RecursionError for thousands of brackets.
UNDECODABLE: Final = (msgspec.DecodeError, UnicodeError, RecursionError)
encode = msgspec.json.Encoder().encode


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
        given = _object(data)
        id = given.get("id")
        raise CommandError(explain(error, given, id if type(id) in (str, int) else None)) from error


def convert(given: Mapping[str, Any], kind: type[T], code: str = "invalid_message", hint: str = "") -> T:
    """A struct from what a form or an address gives, where every value is text.

    Raises CommandError with this code and, unless empty, this hint.
    """
    try:
        found = msgspec.convert(given, kind, strict=False)
        encode(found)  # a lone surrogate, which no JSON brings, would fail in the database
        return found
    except (msgspec.ValidationError, UnicodeError) as error:
        reply = explain(error, given, kind=kind)
        raise CommandError(Error(code, reply.message, hint or reply.hint)) from error


def decode_message(data: bytes | str) -> Message:
    """A hub's message. Raises msgspec.DecodeError."""
    return _messages.decode(data)


def _object(data: bytes) -> dict[str, Any]:
    """What can be read of a message that is no command."""
    try:
        return _objects.decode(data)
    except UNDECODABLE:
        return {}


EXAMPLE: Final = '{"type":"publish","username":"gb","body":"Hello World!"}'
MALFORMED: Final = "JSON is malformed: "
COMMANDS: Final = "publish, subscribe, unsubscribe, history, ping"


def explain(error: Exception, given: Any = None, id: Id | None = None, kind: type = Publish) -> Error:
    """What msgspec found wrong with a command, in words for people: the same everywhere.

    `given` is the object that was meant, as far as it could be read; `kind` a struct that says what people
    call its fields.
    """
    if not isinstance(error, msgspec.ValidationError):
        hint = f"Send one JSON object as UTF-8 text, such as {EXAMPLE}"
        return Error("invalid_json", f"That is no valid JSON: {str(error).removeprefix(MALFORMED)}.", hint, id=id)
    problem, _, path = str(error).partition(" - at ")
    field = path.strip("`").removeprefix("$").lstrip(".")
    value = given.get(field) if isinstance(given, Mapping) else None
    return Error("invalid_message", *_in_words(problem, field, value, _titles(kind).get(field)), id=id)


@cache
def _titles(kind: type) -> dict[str, str]:
    """What people call the fields of a struct: their titles, for those that have one."""
    (_, components) = msgspec.json.schema_components((kind,))
    fields = components.get(kind.__name__, {}).get("properties", {})
    return {name: each["title"] for name, each in fields.items() if "title" in each}


def _in_words(problem: str, field: str, value: Any, title: str | None) -> tuple[str, str]:
    """A message and a hint for one of msgspec's problems."""
    name = f"`{field}`" if field else "The message"
    called = f"The {title.lower()}" if title else name
    quoted = problem.split("`")
    match problem.split(" ", 2):
        case ["Object", "missing", _]:
            return f"`{quoted[1]}` is missing.", f"Add it, as in {EXAMPLE}"
        case ["Object", "contains", _]:
            return f"There is no field `{quoted[1]}` here.", f"Remove it, or mend its spelling, as in {EXAMPLE}"
        case ["Invalid", "value", _] if field == "type":
            return f"{value!r} is no type of message.", f"It is one of {COMMANDS}; without `type` it is a publish."
    if "length <= " in problem:
        most, came = problem.rpartition(" ")[2], f", not {len(value)}" if isinstance(value, str) else ""
        return f"{called} is too long: at most {most} characters{came}.", "Shorten it, or send it as several notes."
    if "length >= " in problem or "matching regex" in problem:
        if value == ALL:
            return f"{name} cannot be `*`, which stands for all topics.", f"Name one topic, such as {LOBBY}."
        return f"{called} needs at least one visible character, and no NUL.", "Type something."
    return f"{name}: {problem[0].lower()}{problem[1:]}.", f"An example of a message: {EXAMPLE}"
