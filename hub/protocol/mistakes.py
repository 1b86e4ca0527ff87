"""What is said of messages that are not valid.

Owns every sentence about invalid input, so browser, terminal and hub say the same of the same mistake.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

import msgspec

from hub.protocol.messages import ALL, LOBBY, Error, Id, Publish

EXAMPLE: Final = '{"type":"publish","username":"gb","body":"Hello World!"}'
MALFORMED: Final = "JSON is malformed: "


def explain(
    error: Exception,
    given: Any = None,
    id: Id | None = None,
    kind: type = Publish,
    types: Sequence[str] = (),
) -> Error:
    """What msgspec found wrong with a command, in words for people.

    `given` is the object that was meant, as far as it could be read. `kind` is a struct whose titles name the fields
    for people. `types` are the values that the field `type` may have.
    """
    if not isinstance(error, msgspec.ValidationError):
        hint = f"Send one JSON object as UTF-8 text, such as {EXAMPLE}"
        return Error("invalid_json", f"That is no valid JSON: {str(error).removeprefix(MALFORMED)}.", hint, id=id)
    problem, _, path = str(error).partition(" - at ")
    field = path.strip("`").removeprefix("$").lstrip(".")
    value = given.get(field) if isinstance(given, Mapping) else None
    if problem.startswith("Invalid value") and field == "type":
        hint = f"It is one of {', '.join(types)}; without `type` it is a publish."
        return Error("invalid_message", f"{value!r} is no type of message.", hint, id=id)
    return Error("invalid_message", *_in_words(problem, field, value, _titles(kind).get(field)), id=id)


@cache
def _titles(kind: type) -> dict[str, str]:
    """The titles of a struct's fields, which people know them by."""
    (_, components) = msgspec.json.schema_components((kind,))
    fields = components.get(kind.__name__, {}).get("properties", {})
    return {name: each["title"] for name, each in fields.items() if "title" in each}


def _in_words(problem: str, field: str, value: Any, title: str | None) -> tuple[str, str]:
    """A message and a hint for a problem that msgspec has found."""
    name = f"`{field}`" if field else "The message"
    called = f"The {title.lower()}" if title else name
    quoted = problem.split("`")
    match problem.split(" ", 2):
        case ["Object", "missing", _]:
            return f"`{quoted[1]}` is missing.", f"Add it, as in {EXAMPLE}"
        case ["Object", "contains", _]:
            return f"There is no field `{quoted[1]}` here.", f"Remove it, or mend its spelling, as in {EXAMPLE}"
    if "length <= " in problem:
        most, came = problem.rpartition(" ")[2], f", not {len(value)}" if isinstance(value, str) else ""
        return f"{called} is too long: at most {most} characters{came}.", "Shorten it, or send it as several notes."
    if "length >= " in problem or "matching regex" in problem:
        if value == ALL:
            return f"{name} cannot be `*`, which stands for all topics.", f"Name one topic, such as {LOBBY}."
        return f"{called} needs at least one visible character, and no NUL.", "Type something."
    return f"{name}: {problem[0].lower()}{problem[1:]}.", f"An example of a message: {EXAMPLE}"
