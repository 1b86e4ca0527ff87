"""Many clients that get the very same bytes, each by one call of the kernel's.

Owns who of them can be written to at once and who holds bytes that are still unsent, and nothing of
what the bytes mean. To thousands of clients the kernel's part is nearly all of the cost, so a client
that holds nothing is written to in one tight loop, past every layer of ours and of the event loop's.
"""

import os
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

# The file to write to, and whether its connection is closing: then the number may already be another's.
Direct = tuple[int, Callable[[], bool]]


class Member(Protocol):
    """What is needed of one client."""

    def direct(self) -> Direct | None:
        """The way past all layers; None where there is none, or while bytes are unsent, which must come first."""

    def write(self, data: bytes) -> bool:
        """Take bytes at once, never wait; False when it now holds more than it should."""


M = TypeVar("M", bound=Member)


class Crowd(Generic[M]):
    """The clients. One that begins to hold bytes by other writes than ours must be `held`."""

    __slots__ = ("_direct", "_held")

    def __init__(self) -> None:
        self._direct: dict[M, Direct] = {}
        self._held: set[M] = set()

    def __len__(self) -> int:
        return len(self._direct) + len(self._held)

    def add(self, member: M) -> None:
        """Have one more, if it is not there yet."""
        if direct := member.direct():
            self._held.discard(member)
            self._direct[member] = direct
        else:
            self.hold(member)

    def discard(self, member: M) -> None:
        """Have one less, if it is there."""
        self._direct.pop(member, None)
        self._held.discard(member)

    def hold(self, member: M) -> None:
        """It holds unsent bytes; what comes is the member's own to write."""
        self._direct.pop(member, None)
        self._held.add(member)

    def write(self, data: bytes) -> list[M]:
        """Write to all; gives those that now hold more than they should."""
        size, write = len(data), os.write
        slow: list[tuple[M, bytes]] = [(member, data) for member in self._held]
        for member, (descriptor, is_closing) in self._direct.items():
            try:
                sent = 0 if is_closing() else write(descriptor, data)
            except OSError:  # the kernel's buffer is full, or the client is gone: the member finds out which
                sent = 0
            if sent < size:
                slow.append((member, data[sent:]))
        full = []
        for member, rest in slow:
            if not member.write(rest):
                full.append(member)
            self.discard(member)
            self.add(member)
        return full
