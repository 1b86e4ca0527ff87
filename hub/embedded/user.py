"""The user as whom the embedded Postgres runs, since it refuses to run as root.

Owns the choice of that user, and what a child process does between fork and exec to become it and to end with its
parent. It never changes the user of this process.
"""

import contextlib
import ctypes
import functools
import os
import pwd
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from hub.embedded.files import binary
from hub.errors import EmbeddedError

CLONE_NEWUSER, PR_SET_PDEATHSIG = 0x10000000, 1  # <linux/sched.h>, <linux/prctl.h>

_libc = ctypes.CDLL(None, use_errno=True)


def identity(data_dir: Path, owner: int) -> tuple[int, Callable[[], None]]:
    """The user for Postgres: the number of the user who must own its files, and what a child calls to become that user.

    `owner` is the user who owns the files now. Raises EmbeddedError when no user can do it.
    """
    if os.geteuid() != 0:
        return os.geteuid(), lambda: None
    candidates: list[tuple[int, Callable[[], None]]] = []
    with contextlib.suppress(KeyError):  # a user may have no entry in /etc/passwd
        # A folder keeps its owner, unless that is root: a user, or `nobody` from an earlier start as root.
        user = pwd.getpwuid(owner) if owner else pwd.getpwnam("nobody")
        # Postgres looks its user up by number, so inside the namespace root has a number that /etc/passwd knows.
        if not owner and sys.platform == "linux":
            candidates.append((0, functools.partial(_enter_user_namespace, user.pw_uid)))
        candidates.append((user.pw_uid, functools.partial(switch_user, user.pw_uid, user.pw_gid)))
    for uid, become in candidates:
        before = data_dir.stat()
        with contextlib.suppress(OSError):  # a container may not know that user
            if uid and before.st_uid == 0 and not before.st_mode & stat.S_IXOTH:
                os.chown(data_dir, uid, -1)
            if _reaches(become, data_dir):
                return uid, become
            os.chown(data_dir, before.st_uid, -1)
    raise EmbeddedError(
        f"Postgres does not run as root, and neither a user namespace nor another user that can enter {data_dir} and "
        f"{binary('postgres').parent} is to be had: start as an ordinary user, or set DATABASE_URL"
    )


def _reaches(become: Callable[[], None], data_dir: Path) -> bool:
    """Whether that user can enter the folder and run Postgres."""
    probe = ["/bin/sh", "-c", 'cd "$0" && exec "$1" -V', str(data_dir), str(binary("postgres"))]
    with contextlib.suppress(subprocess.SubprocessError):
        return subprocess.run(probe, check=False, preexec_fn=become, cwd="/", capture_output=True).returncode == 0
    return False


def give(folder: Path, uid: int) -> None:
    """Make `uid` the owner of the folder and all in it, as Postgres demands of its data folder."""
    if folder.stat().st_uid != uid:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, uid, -1, follow_symlinks=False)


def before_exec(become: Callable[[], None], death_signal: signal.Signals | None, parent: int) -> None:
    """Become the user and, where the kernel can do it, ask for a signal when `parent` dies (prctl(2))."""
    become()
    if death_signal is not None:
        _libc.prctl(PR_SET_PDEATHSIG, death_signal)  # a change of credentials clears it, so it comes last
        if os.getppid() != parent:  # it died before the call
            os._exit(1)


def switch_user(uid: int, gid: int) -> None:
    """Become another user for good, and leave root's groups."""
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def _enter_user_namespace(uid: int) -> None:
    """Become `uid` without any right of root, while files still belong to root (user_namespaces(7)).

    Python 3.12 and later have os.unshare.
    """
    maps = {"uid_map": f"{uid} {os.geteuid()} 1", "setgroups": "deny", "gid_map": f"{uid} {os.getegid()} 1"}
    if _libc.unshare(CLONE_NEWUSER):
        raise OSError(ctypes.get_errno(), "unshare")
    for name, text in maps.items():
        Path("/proc/self", name).write_text(text)
