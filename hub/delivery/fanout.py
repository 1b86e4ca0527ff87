"""Many clients that get the very same bytes.

Owns who of them can be written to at once and who holds bytes that are still unsent, and nothing of
what the bytes mean. To thousands of clients the kernel's part is nearly all of the cost, so those
that hold nothing are written to by their file numbers, in one call where the kernel can do that (`uring`), past every
layer of ours and of the event loop's; nothing else of a client is touched, since its objects are in no near cache.
"""

import os
from array import array
from typing import Generic, Protocol, TypeVar

from hub.delivery.io_uring import MOST_BYTES, Uring

WORTH_IT = 16  # clients; to fewer, a call for each is cheaper than one for all


class Member(Protocol):
    """What is needed of one client."""

    def direct(self) -> int | None:
        """The number of the file to write to; None where there is none, or while unsent bytes must come first."""

    def write(self, data: bytes) -> bool:
        """Take bytes at once, never wait; False when it now holds more than it should."""


M = TypeVar("M", bound=Member)


class Crowd(Generic[M]):
    """The clients.

    One that begins to hold bytes by other writes than ours must be `held`, and one whose
    file is about to be closed must be discarded before: the number may be another's at once.
    """

    __slots__ = ("_direct", "_files", "_held", "_places", "_uring")

    def __init__(self, uring: Uring | None = None) -> None:
        self._uring = uring
        self._direct: list[M] = []
        self._files = array("i")  # of those, in the same order
        self._places: dict[M, int] = {}  # where in that order
        self._held: set[M] = set()

    def __len__(self) -> int:
        return len(self._direct) + len(self._held)

    def add(self, member: M) -> None:
        """Have one more, if it is not there yet."""
        self.discard(member)
        descriptor = member.direct()
        if descriptor is None:
            self._held.add(member)
        else:
            self._places[member] = len(self._direct)
            self._direct.append(member)
            self._files.append(descriptor)

    def discard(self, member: M) -> None:
        """Have one less, if it is there."""
        self._held.discard(member)
        place = self._places.pop(member, None)
        if place is not None:
            last, descriptor = self._direct.pop(), self._files.pop()
            if last is not member:
                self._direct[place], self._files[place], self._places[last] = last, descriptor, place

    def hold(self, member: M) -> None:
        """It holds unsent bytes; what comes is the member's own to write."""
        self.discard(member)
        self._held.add(member)

    def write(self, data: bytes) -> list[M]:
        """Write to all; gives those that now hold more than they should."""
        slow: list[tuple[M, bytes]] = [(member, data) for member in self._held]
        if self._uring and self._uring.usable and len(self._files) >= WORTH_IT and len(data) <= MOST_BYTES:
            short = self._uring.send(self._files, data)
        else:
            short = self._send(data)
        slow += ((self._direct[place], data[sent:]) for place, sent in short)
        full = []
        for member, rest in slow:
            if not member.write(rest):
                full.append(member)
            self.add(member)
        return full

    def _send(self, data: bytes) -> list[tuple[int, int]]:
        """As Uring.send, by a call for each."""
        size, write, short = len(data), os.write, []
        for place, descriptor in enumerate(self._files):
            try:
                sent = write(descriptor, data)
            except OSError:  # the kernel's buffer is full, or the client is gone: the member finds out which
                sent = 0
            if sent < size:
                short.append((place, sent))
        return short
