"""The same bytes to many clients.

Owns which of its clients can be written to directly and which hold unsent bytes. For thousands of clients the kernel
does nearly all of the work. So clients that hold nothing are written to by their file numbers, in one system call where
the kernel has io_uring, past every layer of ours and of the event loop's. Their other objects are not touched, since
those are in no near cache. A client that holds bytes is written to through its `Outgoing`.
"""

import os
from array import array

from hub.delivery.io_uring import MOST_BYTES, Uring
from hub.delivery.outgoing import Outgoing

WORTH_IT = 16  # clients; for fewer, a call for each is cheaper than one for all


class Fanout:
    """Clients that get the same bytes. A client is in one fan-out at a time."""

    __slots__ = ("_direct", "_files", "_held", "_uring")

    def __init__(self, uring: Uring | None = None) -> None:
        self._uring = uring
        self._direct: list[Outgoing] = []
        self._files = array("i")  # of those, in the same order
        self._held: set[Outgoing] = set()

    def __len__(self) -> int:
        return len(self._direct) + len(self._held)

    @property
    def in_one_call(self) -> bool:
        """Whether those that can be written to directly are written to in one system call; a large write is not."""
        return self._uring is not None and self._uring.usable and len(self._files) >= WORTH_IT

    def add(self, outgoing: Outgoing) -> None:
        """Add a client, if it is not there yet."""
        self.discard(outgoing)
        outgoing.fanout = self
        self._sort(outgoing)

    def discard(self, outgoing: Outgoing) -> None:
        """Remove a client, if it is there."""
        if outgoing.fanout is self:
            self.hold(outgoing)
            self._held.discard(outgoing)
            outgoing.fanout = None

    def hold(self, outgoing: Outgoing) -> None:
        """Stop using the file of a client that is there: it holds unsent bytes, or ends."""
        if outgoing.at >= 0:
            last, descriptor = self._direct.pop(), self._files.pop()
            if last is not outgoing:
                self._direct[outgoing.at], self._files[outgoing.at], last.at = last, descriptor, outgoing.at
            outgoing.at = -1
        self._held.add(outgoing)

    def write(self, data: bytes) -> list[Outgoing]:
        """Write to all, and return those that are too slow now."""
        waiting = [(outgoing, data) for outgoing in self._held]
        if self._uring and self._uring.usable and len(self._files) >= WORTH_IT and len(data) <= MOST_BYTES:
            short = self._uring.send(self._files, data)
        else:
            short = self._send(data)
        waiting += [(self._direct[at], data[sent:]) for at, sent in short]
        slow = []
        for outgoing, rest in waiting:
            if outgoing.take(rest) > outgoing.high_water:
                slow.append(outgoing)
            self._sort(outgoing)
        return slow

    def _sort(self, outgoing: Outgoing) -> None:
        self.hold(outgoing)
        if (descriptor := outgoing.file) is not None:
            self._held.discard(outgoing)
            outgoing.at = len(self._direct)
            self._direct.append(outgoing)
            self._files.append(descriptor)

    def _send(self, data: bytes) -> list[tuple[int, int]]:
        """As Uring.send, with a call for each."""
        size, write, short = len(data), os.write, []
        for at, descriptor in enumerate(self._files):
            try:
                sent = write(descriptor, data)
            except OSError:  # the kernel's buffer is full, or the client is gone: the transport finds out which
                sent = 0
            if sent < size:
                short.append((at, sent))
        return short
