"""As whom the embedded Postgres runs: it refuses to be root.

Owns the choice of a user and what a child does between fork and exec to become it and to end with
its parent. Never changes this process's own user.
"""

import contextlib
import ctypes
import functools
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from hub.embedded.files import binary
from hub.errors import EmbeddedError

if sys.platform != "win32":
    import pwd

    _libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWUSER, PR_SET_PDEATHSIG = 0x10000000, 1  # <linux/sched.h>, <linux/prctl.h>


def identity(data_dir: Path, owner: int) -> tuple[int, Callable[[], None]]:
    """Who runs Postgres, which refuses to be root: the owner that its files need, and how the child becomes it."""
    if os.geteuid() != 0:
        return os.geteuid(), lambda: None
    candidates: list[tuple[int, Callable[[], None]]] = []
    with contextlib.suppress(KeyError):  # a user's folder, or nobody's from an earlier start, stays theirs
        user = pwd.getpwuid(owner) if owner else pwd.getpwnam("nobody")
        # Postgres looks its user up by number, so the namespace calls root by a number that /etc/passwd knows.
        candidates = (
            [(0, functools.partial(_enter_user_namespace, user.pw_uid))]
            if not owner and sys.platform == "linux"
            else []
        )
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
    probe = ["/bin/sh", "-c", 'cd "$0" && exec "$1" -V', str(data_dir), str(binary("postgres"))]
    with contextlib.suppress(subprocess.SubprocessError):
        return subprocess.run(probe, check=False, preexec_fn=become, cwd="/", capture_output=True).returncode == 0
    return False


def give(folder: Path, uid: int) -> None:
    """Postgres insists on owning its data folder."""
    if folder.stat().st_uid != uid:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, uid, -1, follow_symlinks=False)


def before_exec(become: Callable[[], None], death_signal: signal.Signals | None, parent: int) -> None:
    """Become the user and, where the kernel can do it, get a signal when the parent dies (prctl(2))."""
    become()
    if death_signal is not None:
        _libc.prctl(PR_SET_PDEATHSIG, death_signal)  # a change of credentials clears it, so it comes last
        if os.getppid() != parent:  # died before the call
            os._exit(1)


def switch_user(uid: int, gid: int) -> None:
    """Be another user for good, without root's groups."""
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def _enter_user_namespace(uid: int) -> None:
    """Be `uid` without any right of root, while files stay root's (user_namespaces(7)). Python 3.12 has os.unshare."""
    maps = {"uid_map": f"{uid} {os.geteuid()} 1", "setgroups": "deny", "gid_map": f"{uid} {os.getegid()} 1"}
    if _libc.unshare(CLONE_NEWUSER):
        raise OSError(ctypes.get_errno(), "unshare")
    for name, text in maps.items():
        Path("/proc/self", name).write_text(text)
