"""Tests of hub.embedded: real processes, real kills, no mocks, in folders that other users can enter."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
import uvloop

from hub.embedded import files as embedded_files
from hub.embedded import server as embedded
from hub.embedded import user as embedded_user
from hub.embedded.server import binary, database_url, is_running, running
from hub.errors import EmbeddedError

ROOT = Path(__file__).parents[1]
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

# A process of its own that keeps a server until its stdin ends. argv: folder, user or "", loop, guarded.
OWNER = """
import asyncio, os, pwd, sys
from pathlib import Path
import uvloop
from hub.embedded import server as embedded
from hub.embedded import files as embedded_files
from hub.embedded import user as embedded_user
async def main():
    try:
        async with embedded.running(Path(sys.argv[1]), fast=True):
            print("ready", flush=True)
            await asyncio.to_thread(sys.stdin.read)
    except embedded.EmbeddedError as error:
        print("error:", error, flush=True)
if sys.argv[2]:  # after the imports: this Python may lie in a folder closed to others
    user = pwd.getpwnam(sys.argv[2])
    embedded_user.switch_user(user.pw_uid, user.pw_gid)
embedded.GUARDED = embedded.GUARDED or bool(sys.argv[4])
(uvloop if sys.argv[3] == "uvloop" else asyncio).run(main())
"""


class Owner:
    """A hub in another process; `say` is its first line."""

    def __init__(
        self,
        data_dir: Path,
        user: str = "",
        loop: str = "asyncio",
        guarded: bool = False,
        before: Callable[[], None] | None = None,
    ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWNER, str(data_dir), user, loop, "guarded" if guarded else ""],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=before,
        )

    def line(self) -> str:
        """The first line that is no log line: "ready" or "error: ..."."""
        assert self.process.stdout
        return next((line for line in self.process.stdout if line.startswith(("ready", "error:"))), "").strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> int:
        self.process.communicate(timeout=20)
        return self.process.returncode


@contextlib.contextmanager
def hub(*arguments: object, **options: object) -> Iterator[Owner]:
    owner = Owner(*arguments, **options)  # type: ignore[arg-type]
    try:
        yield owner
    finally:
        owner.kill()
        for pipe in (owner.process.stdin, owner.process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user can write to; after the test nothing may run in it."""
    path = Path(tempfile.mkdtemp(prefix="hub-", dir="/tmp"))
    path.chmod(0o777)
    yield path
    wait_until(lambda: not servers(path))
    shutil.rmtree(path)


@pytest.fixture
def data_dir(folder: Path) -> Path:
    return folder / "data"


def servers(folder: Path) -> list[int]:
    """Every process that works below the folder: postmaster, its children, initdb."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.readlink(entry / "cwd").startswith(str(folder)):
                found.append(int(entry.name))
    return found


def postmaster(data_dir: Path) -> int:
    return int((data_dir / "postgres" / "postmaster.pid").read_text().split()[0])


def wait_until(condition: Callable[[], object], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "condition not met in time"
        time.sleep(0.02)


async def query(data_dir: Path, sql: str) -> object:
    """Result of a statement, tried again while the server is away."""
    async with asyncio.timeout(15):
        while True:
            try:
                connection = await asyncpg.connect(database_url(data_dir))
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await asyncio.sleep(0.02)
                continue
            try:
                return await connection.fetchval(sql)
            finally:
                await connection.close()


async def refused(data_dir: Path) -> str:
    """The message of a start that must fail."""
    with pytest.raises(EmbeddedError) as caught:
        async with running(data_dir, fast=True):
            pytest.fail("it started")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@contextlib.contextmanager
def small_disk(path: Path, options: str) -> Iterator[None]:
    path.mkdir(exist_ok=True)
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"{options},mode=777", "none", str(path)], capture_output=True
    ).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield
    finally:
        wait_until(lambda: not servers(path))
        subprocess.run(["umount", str(path)], check=True)


async def test_first_start(data_dir: Path) -> None:
    """A first start makes the folder, answers asyncpg and psql at one URL, on no TCP port, and stops at the end."""
    async with running(data_dir) as url:
        assert url == database_url(data_dir) and is_running(data_dir)
        assert await query(data_dir, "SELECT upper('é') || current_setting('timezone')") == "ÉUTC"
        assert await query(data_dir, "SELECT current_setting('listen_addresses')") == ""
        for name in ("fsync", "full_page_writes", "synchronous_commit"):
            assert await query(data_dir, f"SELECT current_setting('{name}')") == "on"
        psql = await asyncio.to_thread(
            subprocess.run,
            [binary("psql"), url, "-Atc", "SELECT current_database()"],
            capture_output=True,
            text=True,
            env=os.environ | {"PGPORT": "1"},
        )
        assert psql.stdout == "notes\n", psql.stderr
        assert data_dir.stat().st_mode & 0o777 == 0o700
        assert {path.name for path in data_dir.iterdir()} == {"lock", "postgres", "postgres.log", "socket"}
    assert not is_running(data_dir) and not servers(data_dir)


async def test_restart_keeps_rows(data_dir: Path) -> None:
    """A second start is ready in under a second, has the rows of the first, and cuts a log that has grown."""
    async with running(data_dir, fast=True):
        await query(data_dir, "CREATE TABLE kept AS SELECT 7 AS number")
    with open(data_dir / "postgres.log", "ab") as log:
        log.truncate(embedded.LOG_BYTES + 1)
    start = time.monotonic()
    async with running(data_dir, fast=True):
        assert time.monotonic() - start < 1
        assert await query(data_dir, "SELECT number FROM kept") == 7
        assert (data_dir / "postgres.log").stat().st_size < 100_000
        assert await query(data_dir, "SELECT current_setting('fsync')") == "off"


async def test_an_interrupted_first_start_is_no_obstacle(data_dir: Path) -> None:
    """After kill -9 in the middle of initdb the next start works and leaves nothing of the first behind."""
    with hub(data_dir) as owner:
        await asyncio.to_thread(wait_until, lambda: list(data_dir.glob("initdb-*/base")))
        owner.kill()
        assert not (data_dir / "postgres").exists()
    async with running(data_dir, fast=True):
        assert not list(data_dir.glob("initdb-*"))


async def test_a_second_process_shares_and_takes_over(data_dir: Path) -> None:
    """A second process uses the server of the first, and starts it anew at the same URL when the first is killed."""
    with hub(data_dir) as owner:
        assert owner.line() == "ready"
        first = postmaster(data_dir)
        async with running(data_dir, fast=True):
            await query(data_dir, "CREATE TABLE kept AS SELECT 7 AS number")
            assert postmaster(data_dir) == first
            owner.kill()
            await asyncio.to_thread(wait_until, lambda: not Path(f"/proc/{first}").exists())
            assert await query(data_dir, "SELECT number FROM kept") == 7
            assert postmaster(data_dir) != first
    assert not is_running(data_dir)


def test_processes_that_start_at_once(data_dir: Path) -> None:
    """Of several processes that start at once one makes the cluster and starts the server; all use it."""
    with hub(data_dir) as one, hub(data_dir) as two, hub(data_dir) as three:
        assert [owner.line() for owner in (one, two, three)] == ["ready"] * 3
        assert (data_dir / "postgres.log").read_text().count("starting PostgreSQL") == 1
        for owner in (three, two, one):  # whoever holds the lock, the next one starts a server only when it is free
            assert owner.end() == 0
    assert not is_running(data_dir)


async def test_a_second_process_leaves_the_server_alone(data_dir: Path) -> None:
    """The end of a process that only shares the server does not stop it."""
    async with running(data_dir, fast=True):
        async with running(data_dir, fast=True):
            first = postmaster(data_dir)
        assert postmaster(data_dir) == first and await query(data_dir, "SELECT 1") == 1


@linux_only
@pytest.mark.parametrize(
    ("loop", "guarded"), [("asyncio", False), ("uvloop", False), ("asyncio", True), ("uvloop", True)]
)
async def test_kill_of_the_owner(data_dir: Path, loop: str, guarded: bool) -> None:
    """Kill -9 of the owner, on either loop, by the kernel or the shell, leaves no process and keeps the rows."""
    with hub(data_dir, loop=loop, guarded=guarded) as owner:
        assert owner.line() == "ready"
        await query(data_dir, "CREATE TABLE kept AS SELECT 7 AS number")
        assert bool("sh" in Path(f"/proc/{parent(postmaster(data_dir))}/comm").read_text()) == guarded
        owner.kill()
        await asyncio.to_thread(wait_until, lambda: not servers(data_dir), 5)
        assert "shutting down" in (data_dir / "postgres.log").read_text()
    async with running(data_dir, fast=True):
        assert await query(data_dir, "SELECT number FROM kept") == 7


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@linux_only
@pytest.mark.parametrize("guarded", [False, True])
def test_end_of_the_owner(data_dir: Path, guarded: bool) -> None:
    """Ctrl-C in the owner's process group does not reach the server; the end of its block stops it cleanly."""
    with hub(data_dir, guarded=guarded) as owner:
        assert owner.line() == "ready"
        assert os.getpgid(postmaster(data_dir)) != os.getpgid(owner.process.pid)
        assert owner.end() == 0
        assert not servers(data_dir) and "database system is shut down" in (data_dir / "postgres.log").read_text()


async def test_a_block_left_by_an_exception_stops_the_server(data_dir: Path) -> None:
    """Cancellation passes through the block as it is, twice if need be, and no process is left."""
    ready = asyncio.Event()

    async def use() -> None:
        async with running(data_dir, fast=True):
            ready.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(use())
    await ready.wait()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not servers(data_dir)


@linux_only
@pytest.mark.parametrize("guarded", [False, True])
async def test_a_killed_server_comes_back(data_dir: Path, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is killed is started again while the block is open, as often as that happens."""
    monkeypatch.setattr(embedded, "GUARDED", guarded)
    async with running(data_dir):
        await query(data_dir, "CREATE TABLE kept AS SELECT 7 AS number")
        for _ in range(2):
            killed = postmaster(data_dir)
            os.kill(killed, signal.SIGKILL)
            await asyncio.to_thread(wait_until, lambda pid=killed: not Path(f"/proc/{pid}").exists())
            assert await query(data_dir, "SELECT number FROM kept") == 7
    assert not servers(data_dir)


@linux_only
async def test_a_stale_pid_file(data_dir: Path) -> None:
    """A postmaster.pid whose number belongs to some other living process of ours does not stop a start."""
    async with running(data_dir, fast=True):
        text = (data_dir / "postgres" / "postmaster.pid").read_text()
    with subprocess.Popen(["sleep", "60"]) as other:
        (data_dir / "postgres" / "postmaster.pid").write_text("\n".join([str(other.pid), *text.split("\n")[1:]]))
        async with running(data_dir, fast=True):
            assert await query(data_dir, "SELECT 1") == 1
        other.kill()


@linux_only
@pytest.mark.parametrize("part", ["postmaster", "child"])
async def test_the_last_server_is_waited_for(data_dir: Path, part: str) -> None:
    """What a killed owner left, a server or the children of one, ends before the next server starts."""
    with hub(data_dir) as owner:
        assert owner.line() == "ready"
        last = postmaster(data_dir)
        stopped = (
            last
            if part == "postmaster"
            else next(pid for pid in servers(data_dir) if pid not in (last, owner.process.pid))
        )
        os.kill(stopped, signal.SIGSTOP)
        owner.kill()
        if part == "child":
            os.kill(last, signal.SIGKILL)
        start = asyncio.create_task(query_once_started(data_dir))
        try:
            await asyncio.wait([start], timeout=0.4)
            assert not start.done() and postmaster(data_dir) == last
        finally:
            os.kill(stopped, signal.SIGCONT)
        assert await start != last
        assert ("still in use" in (data_dir / "postgres.log").read_text()) == (part == "child")


async def query_once_started(data_dir: Path) -> int:
    async with running(data_dir, fast=True):
        return postmaster(data_dir)


async def test_another_major_version(data_dir: Path) -> None:
    """A folder of another major version is named with both versions and the way out, and stays as it is."""
    (data_dir / "postgres").mkdir(parents=True)
    (data_dir / "postgres" / "PG_VERSION").write_text("16\n")
    message = await refused(data_dir)
    assert "Postgres 16" in message and "Postgres 18" in message and "--data-dir" in message
    assert [path.name for path in (data_dir / "postgres").iterdir()] == ["PG_VERSION"]


async def test_a_strange_folder(data_dir: Path) -> None:
    """A folder `postgres` with something else in it is left alone."""
    (data_dir / "postgres").mkdir(parents=True)
    (data_dir / "postgres" / "thesis.txt").write_text("")
    assert "is no Postgres data folder" in await refused(data_dir)


async def test_a_file_in_place_of_the_folder(data_dir: Path) -> None:
    """A file where the folder should be, or above it, is named."""
    data_dir.write_text("")
    assert str(data_dir) in await refused(data_dir) and "file" in await refused(data_dir)
    assert "file" in await refused(data_dir / "below")


async def test_an_unwritable_folder() -> None:
    """A folder that nobody can make is named, with what the system says."""
    message = await refused(Path("/proc/hub"))
    assert "cannot use /proc/hub" in message and "--data-dir" in message


@root_only
def test_a_folder_of_another_user(data_dir: Path) -> None:
    """An ordinary user with a folder that belongs to root is told so."""
    data_dir.mkdir(mode=0o700)
    with hub(data_dir, user="nobody") as owner:
        line = owner.line()
    assert "cannot use" in line and "Permission denied" in line


async def test_a_server_that_exits_at_start(data_dir: Path) -> None:
    """When Postgres does not start, the last FATAL line of its log is the message."""
    async with running(data_dir, fast=True):
        pass
    with open(data_dir / "postgres" / "postgresql.conf", "a") as settings:
        settings.write("shared_preload_libraries = 'no_such_library'\n")
    assert 'could not access file "no_such_library"' in await refused(data_dir)
    assert not servers(data_dir)


@root_only
@pytest.mark.parametrize("options", ["size=20m,nr_inodes=1", "size=20m"])
async def test_a_full_disk(folder: Path, options: str) -> None:
    """A disk that is full at once or during initdb is named, and no half-made cluster is left."""
    with small_disk(folder / "disk", options):
        message = await refused(folder / "disk" / "data")
        assert "no space left" in message and "--data-dir" in message
        assert not list((folder / "disk").glob("data/initdb-*"))


@root_only
async def test_a_disk_that_fills_up_later(folder: Path) -> None:
    """A cluster whose disk is full at start says so, and starts when there is room again."""
    with small_disk(folder / "disk", "size=80m"):
        data_dir = folder / "disk" / "data"
        async with running(data_dir, fast=True):
            pass
        filler = folder / "disk" / "filler"
        with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        assert "no space left" in await refused(data_dir)
        filler.unlink()
        async with running(data_dir, fast=True):
            assert await query(data_dir, "SELECT 1") == 1


@pytest.mark.parametrize("name", ["deep/" * 25 + "data", "comma,colon:é%"])
async def test_a_path_that_no_socket_can_have(folder: Path, name: str) -> None:
    """A path too long or too odd for a socket gets a private folder in /tmp, the same in every process."""
    data_dir = folder / name
    code = "import sys, pathlib; from hub import embedded; print(embedded.database_url(pathlib.Path(sys.argv[1])))"
    other = subprocess.run(
        [sys.executable, "-c", code, data_dir],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(folder)},
        capture_output=True,
        text=True,
    )
    assert other.stdout.strip() == database_url(data_dir)
    socket_dir = embedded_files.socket_dir(data_dir)
    try:
        async with running(data_dir, fast=True):
            assert await query(data_dir, "SELECT 1") == 1
            assert socket_dir.parent == Path("/tmp") and socket_dir.stat().st_mode & 0o777 == 0o700
    finally:
        shutil.rmtree(socket_dir, ignore_errors=True)


@root_only
async def test_a_socket_folder_of_somebody_else(folder: Path) -> None:
    """A socket folder in /tmp that another user made first is refused: who owns it could pose as the server."""
    data_dir = folder / ("deep/" * 25) / "data"
    socket_dir = embedded_files.socket_dir(data_dir)
    socket_dir.mkdir()
    try:
        os.chown(socket_dir, 54321, 54321)
        assert "belongs to somebody else" in await refused(data_dir)
        socket_dir.rmdir()
        socket_dir.symlink_to(folder)
        assert "belongs to somebody else" in await refused(data_dir)
    finally:
        socket_dir.unlink() if socket_dir.is_symlink() else socket_dir.rmdir()


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


def test_an_unknown_program() -> None:
    """A program that the package does not bring is named."""
    with pytest.raises(EmbeddedError, match="no oracle"):
        binary("oracle")


def test_uvloop_runs_it(data_dir: Path) -> None:
    """It works in the hub's own process on uvloop."""

    async def main() -> object:
        async with running(data_dir, fast=True):
            return await query(data_dir, "SELECT 1")

    assert uvloop.run(main()) == 1
