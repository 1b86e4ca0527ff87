"""Where one client is in the log: its cursor, and which of its topics are ahead of it.

Owns the rules alone, without input or output. A topic that is added later is ahead of the cursor until the others have
caught up with it: the events in between were written already, or were never asked for.
"""

from typing import NamedTuple

from hub.feed.events import Event
from hub.protocol import ALL


class Start(NamedTuple):
    """A way into the stream, for one topic or (None) for all: after a cursor, or with the newest `last` items."""

    topic: str | None
    after: int | None
    last: int | None


class Cursor:
    """A position in the log for all topics of a client, and for some topics a position of their own ahead of it."""

    __slots__ = ("_ahead", "changes", "seq", "starts", "topics")

    def __init__(self) -> None:
        self.topics: frozenset[str] = frozenset()
        self.seq = 0  # everything up to here was written, of all topics
        self.starts: list[Start] = []  # still to be begun, in order
        self.changes = 0  # counts each new set of topics and each new position; a page read before is void
        self._ahead: dict[str, int] = {}  # topic → its events up to this seq were written, or not asked for

    def stop(self, head: int) -> None:
        """The client was live up to `head`, and is no more."""
        self.seq = head
        self._ahead = dict.fromkeys(self.topics, head)

    def go_live(self) -> None:
        """The client has everything."""
        if ALL in self.topics:
            self.topics = frozenset((ALL,))  # the others were kept only while events of them were owed
        self._ahead.clear()

    def add(self, topic: str, after: int | None, head: int) -> None:
        """Follow one more topic, after a cursor or from the head of the log."""
        if topic == ALL and after is not None:
            self._keep(frozenset())
        self.topics |= {topic}
        self._ahead[topic] = head
        if after is not None:
            # Another start of this topic, not begun yet, is replaced: so there are never more than topics.
            self.starts = [start for start in self.starts if start.topic != topic] + [Start(topic, after, None)]

    def remove(self, topic: str) -> None:
        """Stop following a topic; `*` stops all."""
        self._keep(frozenset() if topic == ALL else self.topics - {topic})

    def _keep(self, topics: frozenset[str]) -> None:
        self.topics = topics
        self._ahead = {name: seq for name, seq in self._ahead.items() if name in topics}
        self.starts = [start for start in self.starts if start.topic is None or start.topic in topics]

    def reset(self, seq: int) -> None:
        """Go on from a position of another log. Of the starts only snapshots still mean something."""
        self.changes += 1
        self.seq = seq
        self._ahead.clear()
        self.starts = [Start(None, None, start.last) for start in self.starts if start.last is not None]

    def begin(self, topic: str | None, seq: int) -> None:
        """Go on from a position, for one topic or (None) for all."""
        if topic is None:
            self.seq = seq
        else:
            reached = {name: max(self._ahead.get(name, 0), self.seq) for name in self.topics}
            self._ahead = reached | {topic: seq}
            self.seq = min(self.seq, seq)

    @property
    def furthest(self) -> int:
        """The newest position that any topic has reached."""
        return max((self.seq, *self._ahead.values()))

    def owed(self, head: int) -> tuple[int, frozenset[str]]:
        """The position up to which to write next, and the topics to write: those that are not ahead of the cursor."""
        until = min((seq for seq in self._ahead.values() if seq > self.seq), default=head)
        return until, frozenset(name for name in self.topics if self._ahead.get(name, 0) <= self.seq)

    def passed(self, seq: int) -> None:
        """Everything owed up to `seq` was written."""
        self.seq = seq
        self._ahead = {name: other for name, other in self._ahead.items() if other > seq}

    def concerns(self, event: Event, topics: frozenset[str]) -> bool:
        """Whether an event is for one of these topics; `*` leaves out topics that have a position of their own."""
        name = event.topic
        return name is None or name in topics or (ALL in topics and name not in self.topics)
