"""What happened to notes, with its bytes, and a ring of the newest of it.

Owns how an event is kept in memory: encoded once for each wire format, and bounded in all. Who gets it is
the broadcaster's business.
"""

from bisect import bisect_right

from hub.protocol import Deleted, Note, Reset
from hub.protocol.formats import Format


class Event:
    """One entry of the log, with its encodings as far as anyone has asked for them.

    `message` is None for an entry that is passed over: its row is gone or elsewhere since, and a
    later entry says so. `topic` is None for what concerns every topic.
    """

    __slots__ = ("_encoded", "message", "seq", "topic")

    def __init__(self, seq: int, topic: str | None, message: Note | Deleted | Reset | None) -> None:
        self.seq = seq
        self.topic = topic
        self.message = message
        self._encoded: dict[Format, bytes] = {}

    def encoded(self, format: Format) -> bytes:
        """The bytes of this event in a format; made once, whoever asks."""
        data = self._encoded.get(format)
        if data is None:
            data = self._encoded[format] = b"" if self.message is None else format(self.message, self.seq)
        return data

    def size(self) -> int:
        """About how many bytes of memory it holds: the objects, the texts, and those in one or two formats."""
        return 1200 + (8 * len(self.message.body) if type(self.message) is Note else 0)


NOTHING = Event(0, None, None)


class Ring:
    """Recent events in order, bounded by the bytes they hold."""

    PAGE = 500  # events handed out at once: enough to be quick, few enough to keep the loop free

    def __init__(self, max_bytes: int) -> None:
        self.floor = 0  # the cursor from which on nothing is missing
        self._max_bytes = max_bytes
        self._bytes = 0
        self._start = 0
        self._seqs: list[int] = []
        self._events: list[Event] = []

    def clear(self, floor: int) -> None:
        """Forget everything; from `floor` on it is complete again."""
        self.floor, self._bytes, self._start = floor, 0, 0
        self._seqs, self._events = [], []

    def append(self, event: Event) -> None:
        """Add the newest event, and drop the oldest while there are too many bytes."""
        self._seqs.append(event.seq)
        self._events.append(event)
        self._bytes += event.size()
        while self._bytes > self._max_bytes and self._start < len(self._events) - 1:
            oldest = self._events[self._start]
            self._events[self._start] = NOTHING  # frees it; the place is cut off later
            self._start += 1
            self._bytes -= oldest.size()
            self.floor = oldest.seq
        if self._start > 4096 and self._start * 2 > len(self._events):
            del self._seqs[: self._start], self._events[: self._start]
            self._start = 0

    def since(self, cursor: int) -> list[Event] | None:
        """Events after a cursor, at most a page; None for a cursor below the floor."""
        if cursor < self.floor:
            return None
        first = bisect_right(self._seqs, cursor, self._start)
        return self._events[first : first + self.PAGE]

    def holds(self, seq: int) -> bool:
        """Whether an event in the ring has this seq."""
        at = bisect_right(self._seqs, seq, self._start) - 1
        return at >= self._start and self._seqs[at] == seq
