"""The same bytes to many sockets in one system call: Linux's io_uring, without a library.

Owns one ring (io_uring_setup(2), io_uring_enter(2)) and the layout of its entries. A system call for each client costs
about a tenth of what the sending itself costs, and Python's way to the call costs as much again. Here both are paid
once for all clients. All sends are tried at once and none waits. A new ring proves that before it is used: where the
kernel has no io_uring, or one that behaves differently, making a ring fails.
"""

import contextlib
import ctypes
import errno
import mmap
import os
import platform
import socket
import struct
import sys
from array import array
from typing import Final, Self

import structlog

log = structlog.get_logger()

MOST_BYTES: Final = 64 << 10  # most that is sent to each at once; beyond, the copying costs far more than the calls
ENTRIES: Final = 1024  # sends in one call

_SETUP, _ENTER = 425, 426  # numbers of the system calls, the same on both machines
_MACHINES = ("x86_64", "aarch64")
_WAIT = 1  # IORING_ENTER_GETEVENTS
_SENDS_OFFSET = 0x10000000  # IORING_OFF_SQES
_PARAMETERS = struct.Struct("<7I12x10I10I")  # io_uring_params, with the offsets of both queues
_SEND = struct.Struct("<BBHiQQIIQQQQ")  # io_uring_sqe: operation, file, address, size, flags, which
_OPERATION = 26  # IORING_OP_SEND
_FILE, _SIZE, _WORDS = 1, 6, _SEND.size // 4  # where they are in it, in words of four bytes
_DONE = struct.Struct("<QiI")  # io_uring_cqe: which, and what send(2) returned, or an error as a negative number
_RESULT, _DONE_WORDS = 2, _DONE.size // 4
_PASSING = (errno.EINTR, errno.EAGAIN, errno.EBUSY, errno.ENOMEM)  # errors that may not come the next time
_WRAP = 0xFFFFFFFF  # positions in the queues are counted in 32 bits


class Uring:
    """One ring, for one thread. Raises OSError where the kernel refuses it, or it does not work as needed."""

    def __init__(self) -> None:
        if sys.platform != "linux" or platform.machine() not in _MACHINES:
            raise OSError("io_uring is for Linux on x86_64 and aarch64")
        try:
            self._syscall = ctypes.CDLL(None, use_errno=True).syscall
        except AttributeError:
            raise OSError("the C library has no syscall()") from None
        self._syscall.restype = ctypes.c_long
        self.usable = True  # False once the kernel refuses for good what it accepted before
        parameters = ctypes.create_string_buffer(_PARAMETERS.size)
        with contextlib.ExitStack() as opened:
            self._ring = self._call(_SETUP, ENTRIES, parameters)
            opened.callback(os.close, self._ring)
            self._map(opened, _PARAMETERS.unpack(parameters.raw))
            self._prove()
            self._opened = opened.pop_all()

    def _map(self, opened: contextlib.ExitStack, parameters: tuple[int, ...]) -> None:
        self._dones, submit, done = parameters[1], parameters[7:17], parameters[17:27]
        size = max(submit[6] + 4 * ENTRIES, done[5] + _DONE.size * self._dones)
        self._queues = opened.enter_context(mmap.mmap(self._ring, size))
        self._positions = opened.enter_context(memoryview(self._queues).cast("I"))
        self._taken, self._tail, self._order = submit[0] // 4, submit[1] // 4, submit[6] // 4
        self._done_head, self._done_tail, self._done_at = done[0] // 4, done[1] // 4, done[5]
        self._bytes = opened.enter_context(mmap.mmap(-1, MOST_BYTES))
        address, flags = ctypes.addressof(ctypes.c_char.from_buffer(self._bytes)), 0
        if sys.platform == "linux":
            flags = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
        sends = opened.enter_context(mmap.mmap(self._ring, _SEND.size * ENTRIES, offset=_SENDS_OFFSET))
        for number in range(ENTRIES):
            _SEND.pack_into(sends, number * _SEND.size, _OPERATION, 0, 0, -1, 0, address, 0, flags, number, 0, 0, 0)
        self._sends = opened.enter_context(memoryview(sends).cast("i"))
        self._numbers = memoryview(array("I", range(ENTRIES)))
        self._expected = bytearray(b"".join(_DONE.pack(number, 0, 0) for number in range(ENTRIES)))
        self._size = 0  # what is in the entries, and expected

    def close(self) -> None:
        """Give the ring back. Nothing is in progress between two calls of `send`."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, files: "array[int]", data: bytes) -> list[tuple[int, int]]:
        """Send at most MOST_BYTES to sockets. Returns (index, bytes taken) for each socket that did not take all.

        It does not tell why: the socket's buffer is full, or the client is gone.
        """
        short: list[tuple[int, int]] = []
        with memoryview(files) as numbers:
            self._prepare(data)
            for start in range(0, len(files), ENTRIES):
                some = numbers[start : start + ENTRIES]
                done = self._try(some)
                if done != self._expected[: len(some) * _DONE.size]:
                    sent = {which: max(0, result) for which, result, _ in _DONE.iter_unpack(done)}
                    takes = ((which, sent.get(which, 0)) for which in range(len(some)))
                    short += [(start + which, took) for which, took in takes if took < len(data)]
        return short

    def _prepare(self, data: bytes) -> None:
        size = len(data)
        self._bytes[:size] = data
        if size != self._size:
            self._size = size
            sizes = array("i", (size,)) * ENTRIES
            self._sends[_SIZE::_WORDS] = memoryview(sizes)
            with memoryview(self._expected).cast("i") as expected:
                expected[_RESULT::_DONE_WORDS] = memoryview(sizes)

    def _try(self, files: "memoryview[int]", wait: bool = True) -> bytes:
        """Try to send to at most ENTRIES sockets, and return the results of those that were tried."""
        count, positions = len(files), self._positions
        self._sends[_FILE : count * _WORDS : _WORDS] = files
        tail = positions[self._tail]
        at = self._order + tail % ENTRIES
        fits = min(count, self._order + ENTRIES - at)
        positions[at : at + fits] = self._numbers[:fits]
        positions[self._order : self._order + count - fits] = self._numbers[fits:count]
        positions[self._tail] = (tail + count) & _WRAP
        tried = self._enter(count, count if wait else 0)
        positions[self._tail] = positions[self._taken]  # what it did not take is not tried later
        done = self._collect()
        while wait and self.usable and len(done) < tried * _DONE.size:  # a signal came in between
            self._enter(0, tried - len(done) // _DONE.size)
            done += self._collect()
        return done

    def _enter(self, submit: int, least: int) -> int:
        try:
            return self._call(_ENTER, self._ring, submit, least, _WAIT if least else 0, None, 0)
        except OSError as error:
            if error.errno not in _PASSING:
                self.usable = False
                log.error("io_uring_failed", reason=str(error), instead="a system call for each client")
            return 0

    def _collect(self) -> bytes:
        done, at, until = b"", self._positions[self._done_head], self._positions[self._done_tail]
        while count := min((until - at) & _WRAP, self._dones - at % self._dones):
            start = self._done_at + at % self._dones * _DONE.size
            done += self._queues[start : start + count * _DONE.size]
            at = (at + count) & _WRAP
        self._positions[self._done_head] = at
        return done

    def _call(self, number: int, *arguments: object) -> int:
        result = int(self._syscall(ctypes.c_long(number), *arguments))
        if result < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return result

    def _prove(self) -> None:
        """Check that a send to a full socket fails at once, as send(2) with MSG_DONTWAIT does. Raises OSError."""
        ours, theirs = socket.socketpair()
        with ours, theirs, memoryview(array("i", [ours.fileno()])) as files:
            self._prepare(bytes(MOST_BYTES))
            results: list[int] = []
            while not results or results[-1] > 0:
                results += [result for _, result, _ in _DONE.iter_unpack(self._try(files, wait=False))] or [0]
        if results[0] <= 0 or results[-1] != -errno.EAGAIN:
            raise OSError(f"io_uring sends otherwise than send(2): {results}")
