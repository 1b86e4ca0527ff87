"""The two programs in C: the load, and the limit that every system is measured against.

Owns their compilation into `.bench/`, again whenever a source is newer. Both use epoll, so they need Linux.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parent.parent / ".bench"
FLAGS = ("-O2", "-Wall", "-Wextra")


class NativeError(RuntimeError):
    """The programs can't be had here; the message is one line for a person."""


def program(name: str) -> Path:
    """The program made of ``bench/NAME.c``. Raises NativeError."""
    source, target = Path(__file__).with_name(f"{name}.c"), FOLDER / name
    if target.exists() and target.stat().st_mtime > source.stat().st_mtime:
        return target
    if sys.platform != "linux":
        raise NativeError("Linux is needed: the load of the measurements uses epoll")
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise NativeError("a C compiler is needed for the measurements; on Debian: apt install gcc libc6-dev")
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        made = Path(folder, name)
        done = subprocess.run([compiler, *FLAGS, "-o", str(made), str(source)], capture_output=True, text=True)
        if done.returncode:
            raise NativeError(f"{compiler} refuses {source}: {done.stderr.strip().splitlines()[0]}")
        os.replace(made, target)
    return target
