"""Bytes to messages and back.

Owns the decoders. `hub.protocol.mistakes` says what is wrong with bytes that are no message.
"""

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeVar, Union, get_args

import msgspec

from hub.errors import CommandError, ProtocolError
from hub.protocol.messages import PROTOCOL, Error, Message, Publish
from hub.protocol.mistakes import explain

T = TypeVar("T")


class Typed(msgspec.Struct):
    """Any message, as far as all versions of the protocol agree on it."""

    type: str


# What a decoder raises: UnicodeError for a str with a lone surrogate too, RecursionError for thousands of brackets.
UNDECODABLE: Final = (msgspec.DecodeError, UnicodeError, RecursionError)

encode = msgspec.json.Encoder().encode
_messages: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)
_typed = msgspec.json.Decoder(Typed)
_types: Final = frozenset(kind.__struct_config__.tag for kind in get_args(Message))
_objects = msgspec.json.Decoder(dict[str, Any])


def decode_message(data: bytes | str) -> Message | None:
    """A message of the hub; None if a newer hub sent a type that is not known here. Fields not known are left out.

    Raises ProtocolError.
    """
    try:
        return _messages.decode(data)
    except UNDECODABLE as error:
        with contextlib.suppress(*UNDECODABLE):
            if _typed.decode(data).type not in _types:
                return None
        raise ProtocolError(f"the hub sent something that is no message of {PROTOCOL}: {error}") from error


class CommandDecoder:
    """Decodes what clients send: one of `kinds`, each a tagged struct. An object without a `type` is a Publish."""

    def __init__(self, kinds: Iterable[type[msgspec.Struct]]) -> None:
        kinds = tuple(kinds)
        self._types = [str(kind.__struct_config__.tag) for kind in kinds]
        self._commands: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Union[kinds])  # noqa: UP007 — made at run time
        self._bare = msgspec.json.Decoder(Publish)

    def decode(self, data: bytes) -> Any:
        """The command that these bytes hold. Raises CommandError."""
        try:
            if b'"type"' not in data:
                return self._bare.decode(data)
            try:
                return self._commands.decode(data)
            except msgspec.ValidationError:
                if "type" in _objects.decode(data):
                    raise
                return self._bare.decode(data)
        except UNDECODABLE as error:
            given = _object(data)
            id = given.get("id")
            reply = explain(error, given, id if type(id) in (str, int) else None, types=self._types)
            raise CommandError(reply) from error


def convert(given: Mapping[str, Any], kind: type[T], code: str = "invalid_message", hint: str = "") -> T:
    """A struct from the texts of a form or an address.

    Raises CommandError with this code and, unless it is empty, this hint.
    """
    try:
        found = msgspec.convert(given, kind, strict=False)
        encode(found)  # a lone surrogate, which JSON cannot bring, would fail in the database
        return found
    except (msgspec.ValidationError, UnicodeError) as error:
        reply = explain(error, given, kind=kind)
        raise CommandError(Error(code, reply.message, hint or reply.hint)) from error


def _object(data: bytes) -> dict[str, Any]:
    """What can be read of a message that is no command."""
    try:
        return _objects.decode(data)
    except UNDECODABLE:
        return {}
