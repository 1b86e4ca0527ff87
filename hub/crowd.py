"""Many clients that get the very same bytes, each by one call of the kernel's.

Owns who of them can be written to at once and who holds bytes that are still unsent, and nothing of
what the bytes mean. To thousands of clients the kernel's part is nearly all of the cost, so a client
that holds nothing is written to in one tight loop over file numbers, past every layer of ours and of
the event loop's; nothing else of a client is touched, since its objects are in no near cache.
"""

import os
from array import array
from typing import Generic, Protocol, TypeVar


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

    __slots__ = ("_direct", "_files", "_held", "_places")

    def __init__(self) -> None:
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
        size, write = len(data), os.write
        slow: list[tuple[M, bytes]] = [(member, data) for member in self._held]
        for place, descriptor in enumerate(self._files):
            try:
                sent = write(descriptor, data)
            except OSError:  # the kernel's buffer is full, or the client is gone: the member finds out which
                sent = 0
            if sent < size:
                slow.append((self._direct[place], data[sent:]))
        full = []
        for member, rest in slow:
            if not member.write(rest):
                full.append(member)
            self.add(member)
        return full
