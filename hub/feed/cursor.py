"""Where one client is in the log: its cursor, and what of its topics is still owed.

Owns the rules alone, without any input or output. A topic that is added later has a place of its own until the rest
has caught up with it: what lies between was written already, or was never asked for.
"""

from typing import NamedTuple

from hub.feed.events import Event
from hub.protocol import ALL


class Start(NamedTuple):
    """A way into the stream: of one topic, or (None) of the subscription as a whole."""

    topic: str | None
    after: int | None
    last: int | None


class Place:
    """A cursor for all topics, and for some of them how far they are ahead of it."""

    __slots__ = ("_skip", "changes", "cursor", "starts", "topics")

    def __init__(self) -> None:
        self.topics: frozenset[str] = frozenset()
        self.cursor = 0
        self.starts: list[Start] = []  # what is still to be begun, in order
        self.changes = 0  # how often topics or cursor were set anew; a page read before that is void
        self._skip: dict[str, int] = {}  # topic → events up to this seq were written already, or not asked for

    def stop(self, head: int) -> None:
        """What was live up to `head` is so no more."""
        self.cursor = head
        self._skip = dict.fromkeys(self.topics, head)

    def live(self) -> None:
        """Nothing is owed any more."""
        if ALL in self.topics:
            self.topics = frozenset((ALL,))  # those it followed before were kept for what it was owed of them
        self._skip.clear()

    def add(self, topic: str, after: int | None, head: int) -> None:
        """Follow one more topic, from a cursor or else from the head of the log."""
        if topic == ALL and after is not None:
            self._keep(frozenset())
        self.topics |= {topic}
        self._skip[topic] = head
        if after is not None:
            self.starts.append(Start(topic, after, None))

    def remove(self, topic: str) -> None:
        """Follow a topic no more."""
        self._keep(frozenset() if topic == ALL else self.topics - {topic})

    def _keep(self, topics: frozenset[str]) -> None:
        self.topics = topics
        self._skip = {name: seq for name, seq in self._skip.items() if name in topics}
        self.starts = [start for start in self.starts if start.topic is None or start.topic in topics]

    def reset(self, seq: int) -> None:
        """The log is another one, from `seq` on; of the starts only snapshots still mean something."""
        self.changes += 1
        self.cursor = seq
        self._skip.clear()
        self.starts = [Start(None, None, start.last) for start in self.starts if start.last is not None]

    def begin(self, topic: str | None, cursor: int) -> None:
        """Go on from a cursor: one topic, or (None) all."""
        if topic is None:
            self.cursor = cursor
        else:
            reached = {name: max(self._skip.get(name, 0), self.cursor) for name in self.topics}
            self._skip = reached | {topic: cursor}
            self.cursor = min(self.cursor, cursor)

    @property
    def furthest(self) -> int:
        """The newest position that any topic has reached."""
        return max((self.cursor, *self._skip.values()))

    def owed(self, head: int) -> tuple[int, frozenset[str]]:
        """The topics that are owed what follows the cursor, and the position at which others join them."""
        until = min((seq for seq in self._skip.values() if seq > self.cursor), default=head)
        return until, frozenset(name for name in self.topics if self._skip.get(name, 0) <= self.cursor)

    def passed(self, seq: int) -> None:
        """Everything owed up to `seq` was written."""
        self.cursor = seq
        self._skip = {name: other for name, other in self._skip.items() if other > seq}

    def concerns(self, event: Event, topics: frozenset[str]) -> bool:
        """Whether an event is for one of these of its topics: one that has a place of its own does not follow `*`'s."""
        name = event.topic
        return name is None or name in topics or (ALL in topics and name not in self.topics)
