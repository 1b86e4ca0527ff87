"""What the address of a stream asks for: ``?topic=a&after=SEQ&last=50&username=gb&format=json``.

Owns the parameters that WebSockets and HTTP streams share, and what is wrong with a query.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from hub.errors import CommandError
from hub.protocol import ALL, LOBBY, MAX_LENGTH, Error, Limit, Name, Seq
from hub.protocol.codec import convert

HINT = "The address takes topic (any number), after and last, and for /ws username and format: ?topic=lobby&last=10"

# Unlike a Name it may be empty: that is how one follows nothing.
AnyTopic = Annotated[str, Meta(max_length=MAX_LENGTH, pattern=r"\A[^\x00]*\Z")]


class Query(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the address of a stream asks for."""

    topic: list[AnyTopic] = msgspec.field(default_factory=lambda: [LOBBY])
    after: Seq | None = None
    last: Limit | None = None
    username: Name | None = None
    format: Literal["json", "text"] = "json"

    @property
    def topics(self) -> frozenset[str]:
        """The topics to follow: `*` is all, an empty one is none."""
        return frozenset((ALL,)) if ALL in self.topic else frozenset(self.topic) - {""}

    @property
    def home(self) -> str:
        """The topic of a note that names none: the first of the address, or the lobby."""
        return next((topic for topic in self.topic if topic not in ("", ALL)), LOBBY)


def parse_query(parameters: Mapping[str, str], max_topics: int) -> Query:
    """The query of a stream's address. Raises CommandError with what was expected and what came."""
    values: dict[str, Any] = {}
    for name, value in parameters.items():
        if name == "topic":
            values.setdefault(name, []).append(value)
        elif name in values:
            raise CommandError(Error("invalid_address", f"`{name}` stands twice in the address.", "Give it once."))
        else:
            values[name] = value
    query = convert(values, Query, "invalid_address", HINT)
    if len(query.topics) > max_topics:
        raise CommandError(too_many_topics(max_topics))
    return query


def too_many_topics(limit: int) -> Error:
    """The reply to one topic too many."""
    hint = "Unsubscribe from one, open a second connection, or follow all with `*`."
    return Error("too_many_topics", f"At most {limit} topics at once.", hint)
