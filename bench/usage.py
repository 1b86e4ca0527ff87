"""What a process has used so far: memory, and processor time, as the kernel counts them (Linux)."""

import re
from pathlib import Path
from typing import NamedTuple

from bench.parts import cpu


class Memory(NamedTuple):
    """Bytes that a process holds: `rss` in all, `pss` with shared pages divided among those who share them."""

    rss: int
    pss: int


def memory(pid: int) -> Memory:
    """What a process holds now."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return Memory(*(int(re.findall(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)[0]) << 10 for name in ("Rss", "Pss")))


def peak(pid: int) -> int:
    """The most bytes that a process ever held."""
    return int(re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[0]) << 10


class Meter:
    """The processor time of a process and its descendants since the meter was made."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._cpu = cpu(pid)

    def seconds(self) -> float:
        """Seconds on a processor."""
        return (cpu(self._pid) - self._cpu) / 1e9
