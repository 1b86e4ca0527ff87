"""The form for a note, as the struct Publish describes it.

Owns what is known of the form's fields: their labels, which are required, how long a value may be, and what is wrong
with a value, in the hub's own words. It never makes HTML. The hub and the browser both run it.
"""

from functools import cache
from typing import Any, Final, NamedTuple

import msgspec

from hub.errors import CommandError
from hub.protocol import Error, Publish
from hub.protocol.codec import convert
from hub.protocol.mistakes import EXAMPLE

FIELDS: Final = ("username", "body")  # in the order of the form; people do not fill in the other fields of Publish


class Field(NamedTuple):
    """One field of the form. Its value has at most `most` characters (code points)."""

    name: str
    label: str
    required: bool
    most: int


@cache
def fields(kind: type[msgspec.Struct] = Publish) -> dict[str, Field]:
    """The fields of the form by name, as the struct `kind` describes them."""
    (schema,), components = msgspec.json.schema_components([kind])
    found: dict[str, Any] = components[schema["$ref"].rpartition("/")[2]]
    properties, required = found["properties"], found["required"]
    return {
        name: Field(name, properties[name]["title"], name in required, properties[name]["maxLength"]) for name in FIELDS
    }


def problem(name: str, value: str) -> Error | None:
    """The error with which the hub would refuse a value of this field; None if the value is valid."""
    try:
        convert({**msgspec.json.decode(EXAMPLE), name: value}, Publish)
    except CommandError as error:
        return error.error
    return None


def in_words(error: Error) -> str:
    """An error as one text for people: its message, then its hint."""
    end = "" if error.message.endswith((".", "!", "?")) else "."
    return f"{error.message}{end} {error.hint}".strip()
