"""The query in an address, first of all that of a stream: ``?topic=a&after=SEQ&last=50&username=gb&format=json``.

Owns the parameters that WebSockets and HTTP streams share, and the errors about them. It never sees a request, only its
parameters. ``docs/protocol.md``, section Connecting, describes them.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from hub.errors import CommandError
from hub.protocol import ALL, LOBBY, MAX_LENGTH, Error, Limit, Name, Seq
from hub.protocol.codec import convert

HINT = "The address takes topic (any number), after and last, and for /ws username and format: ?topic=lobby&last=10"

# Unlike a Name it may be empty, which follows nothing.
AnyTopic = Annotated[str, Meta(max_length=MAX_LENGTH, pattern=r"\A[^\x00]*\Z")]


class Query(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of a stream, as its address gives them."""

    topic: list[AnyTopic] = msgspec.field(default_factory=lambda: [LOBBY])
    after: Seq | None = None
    last: Limit | None = None
    username: Name | None = None
    format: Literal["json", "text"] = "json"

    @property
    def topics(self) -> frozenset[str]:
        """The topics to follow. `*` replaces all others, and an empty topic counts as none."""
        return frozenset((ALL,)) if ALL in self.topic else frozenset(self.topic) - {""}

    @property
    def home(self) -> str:
        """The topic of a note that names none: the first one that is neither empty nor `*`, else the lobby."""
        return next((topic for topic in self.topic if topic not in ("", ALL)), LOBBY)


def parse_query(parameters: Mapping[str, str], max_topics: int) -> Query:
    """Read the query of a stream, which may name at most `max_topics` topics.

    `parameters` is a multidict, since `topic` may come several times. Raises CommandError, which says what was expected
    and what came.
    """
    values: dict[str, Any] = once((name, value) for name, value in parameters.items() if name != "topic")
    if topics := [value for name, value in parameters.items() if name == "topic"]:
        values["topic"] = topics
    query = convert(values, Query, "invalid_address", HINT)
    if len(query.topics) > max_topics:
        raise CommandError(too_many_topics(max_topics))
    return query


def once(parameters: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The parameters of an address that may each be given once only. Raises CommandError for one that is repeated."""
    values: dict[str, str] = {}
    for name, value in parameters:
        if name in values:
            raise CommandError(Error("invalid_address", f"`{name}` stands twice in the address.", "Give it once."))
        values[name] = value
    return values


def too_many_topics(limit: int) -> Error:
    """The error for a client that would follow more than `limit` topics."""
    hint = "Unsubscribe from one, open a second connection, or follow all with `*`."
    return Error("too_many_topics", f"At most {limit} topics at once.", hint)
