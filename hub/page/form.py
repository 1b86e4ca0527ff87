"""The form for a note, as the struct Publish describes it.

Owns what a form can know of its fields: labels, what is required, how long they may be, and what is
wrong with a value, in the hub's own words. The hub and the browser both use it; it makes no HTML.
"""

from functools import cache
from typing import Any, Final, NamedTuple

import msgspec

from hub.errors import CommandError
from hub.protocol import Error, Publish
from hub.protocol.codec import convert
from hub.protocol.mistakes import EXAMPLE

FIELDS: Final = ("username", "body")  # in their order; the others are not for people


class Field(NamedTuple):
    """What the struct says of a field; `most` counts characters (code points)."""

    name: str
    label: str
    required: bool
    most: int


@cache
def fields(kind: type[msgspec.Struct] = Publish) -> dict[str, Field]:
    """The fields by name."""
    (schema,), components = msgspec.json.schema_components([kind])
    found: dict[str, Any] = components[schema["$ref"].rpartition("/")[2]]
    properties, required = found["properties"], found["required"]
    return {
        name: Field(name, properties[name]["title"], name in required, properties[name]["maxLength"]) for name in FIELDS
    }


def problem(name: str, value: str) -> Error | None:
    """What the hub would say of a value in this field; None if it is valid."""
    try:
        convert({**msgspec.json.decode(EXAMPLE), name: value}, Publish)
    except CommandError as error:
        return error.error
    return None


def in_words(error: Error) -> str:
    """An error as people read it."""
    end = "" if error.message.endswith((".", "!", "?")) else "."
    return f"{error.message}{end} {error.hint}".strip()
