"""As whom the embedded server runs, with real users and namespaces."""

import ctypes
import os
import pwd
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hub.embedded import user as embedded_user
from hub.embedded.server import binary
from tests.embedded.hubs import hub
from tests.embedded.servers import linux_only, postmaster, root_only, servers, wait_until


@pytest.fixture
def nobody() -> str:
    """An ordinary user's name; skips where that user cannot reach the programs."""
    user = pwd.getpwnam("nobody")
    if subprocess.run(
        [binary("postgres"), "-V"], check=False, user=user.pw_uid, group=user.pw_gid, cwd="/", capture_output=True
    ).returncode:
        pytest.skip("the Postgres programs lie in a folder closed to other users")
    return "nobody"


@root_only
def test_a_folder_of_another_user(data_dir: Path) -> None:
    """An ordinary user with a folder that belongs to root is told so."""
    data_dir.mkdir(mode=0o700)
    with hub(data_dir, user="nobody") as owner:
        line = owner.line()
    assert "cannot use" in line and "Permission denied" in line


@root_only
def test_an_ordinary_user(folder: Path, data_dir: Path, nobody: str) -> None:
    """It works without root, and the server runs as the same user."""
    with hub(data_dir, user=nobody) as owner:
        assert owner.line() == "ready"
        assert Path(f"/proc/{postmaster(data_dir)}").stat().st_uid == pwd.getpwnam(nobody).pw_uid
        assert owner.end() == 0


def confine(users: int) -> Callable[[], None]:
    """Make a child root of `users` users where no further namespace is allowed, as in many containers."""
    libc, ready, mapped = ctypes.CDLL(None), os.pipe(), os.pipe()
    if (helper := os.fork()) == 0:  # outside, where the map may be written; it learns the child's number from the pipe
        os.close(ready[1])
        if pid := os.read(ready[0], 20).decode():
            for name in ("uid_map", "gid_map"):
                Path("/proc", pid, name).write_text(f"0 0 {users}")
        os._exit(os.write(mapped[1], b".") - 1)

    def before() -> None:
        assert libc.unshare(embedded_user.CLONE_NEWUSER) == 0
        os.write(ready[1], str(os.getpid()).encode())
        os.read(mapped[0], 1)
        Path("/proc/sys/user/max_user_namespaces").write_text("0")

    before.helper = helper  # type: ignore[attr-defined]
    return before


@root_only
@linux_only
@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_root_without_namespaces(data_dir: Path, nobody: str, mode: int) -> None:
    """Root that may not make a user namespace runs the server as nobody, who gets what it needs and keeps it."""
    data_dir.mkdir(mode=mode)
    uid = pwd.getpwnam(nobody).pw_uid
    before = confine(65536)
    with hub(data_dir, before=before) as owner:
        os.waitpid(before.helper, 0)  # type: ignore[attr-defined]
        assert owner.line() == "ready"
        assert Path(f"/proc/{postmaster(data_dir)}").stat().st_uid == uid
        assert data_dir.stat().st_uid == (uid if mode == 0o700 else 0)
        owner.kill()
        wait_until(lambda: not servers(data_dir), 5)
    with hub(data_dir) as owner:  # now with namespaces
        assert owner.line() == "ready"
        assert (data_dir / "postgres").stat().st_uid == Path(f"/proc/{postmaster(data_dir)}").stat().st_uid == uid


@root_only
@linux_only
@pytest.mark.parametrize(("users", "mode"), [(65536, 0o700), (1, 0o755)])
def test_root_without_any_way(folder: Path, data_dir: Path, nobody: str, users: int, mode: int) -> None:
    """Where nobody cannot enter the folder, or does not exist, it says so, and the folder stays root's."""
    data_dir.mkdir(mode=0o700)
    folder.chmod(mode)
    before = confine(users)
    with hub(data_dir, before=before) as owner:
        os.waitpid(before.helper, 0)  # type: ignore[attr-defined]
        line = owner.line()
    assert "does not run as root" in line and str(data_dir) in line and "DATABASE_URL" in line
    assert data_dir.stat().st_uid == 0
