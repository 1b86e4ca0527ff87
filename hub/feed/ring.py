"""The ring of recent events, from which most clients catch up without a query.

Owns which events it still holds: the newest, bounded by their bytes.
"""

from bisect import bisect_right

from hub.feed.events import Event

NOTHING = Event(0, None, None)
TRIM = 4096  # dropped entries after which the lists are cut


class Ring:
    """Recent events in order, bounded by the bytes they hold."""

    PAGE = 500  # events returned at once: enough to be quick, few enough to keep the event loop free

    def __init__(self, max_bytes: int) -> None:
        self.floor = 0  # the cursor from which on nothing is missing
        self._max_bytes = max_bytes
        self._bytes = 0
        self._start = 0
        self._seqs: list[int] = []
        self._events: list[Event] = []

    def clear(self, floor: int) -> None:
        """Forget everything; from `floor` on the ring is complete again."""
        self.floor, self._bytes, self._start = floor, 0, 0
        self._seqs, self._events = [], []

    def append(self, event: Event) -> None:
        """Add the newest event, and drop the oldest while there are too many bytes."""
        self._seqs.append(event.seq)
        self._events.append(event)
        self._bytes += event.size
        while self._bytes > self._max_bytes and self._start < len(self._events) - 1:
            oldest = self._events[self._start]
            self._events[self._start] = NOTHING  # frees it; the list is cut later
            self._start += 1
            self._bytes -= oldest.size
            self.floor = oldest.seq
        if self._start > TRIM and self._start * 2 > len(self._events):
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
