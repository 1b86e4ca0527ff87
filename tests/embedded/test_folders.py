"""Data folders that cannot be used as they are: each is named, with the way out."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.embedded import files as embedded_files
from hub.embedded.server import database_url, running
from tests.conftest import copy
from tests.embedded.servers import query, refused, root_only, servers, wait_until
from tests.programs import ROOT


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


@root_only
@pytest.mark.parametrize("options", ["size=20m,nr_inodes=1", "size=20m"])
async def test_a_full_disk(folder: Path, options: str) -> None:
    """A disk that is full at once or during initdb is named, and no half-made cluster is left."""
    with small_disk(folder / "disk", options):
        message = await refused(folder / "disk" / "data")
        assert "no space left" in message and "--data-dir" in message
        assert not list((folder / "disk").glob("data/initdb-*"))


@root_only
async def test_a_disk_that_fills_up_later(folder: Path, cluster: Path) -> None:
    """A cluster whose disk is full at start says so, and starts when there is room again."""
    with small_disk(folder / "disk", "size=80m"):
        data_dir = folder / "disk" / "data"
        copy(cluster, data_dir)
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
async def test_a_path_that_no_socket_can_have(folder: Path, cluster: Path, name: str) -> None:
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
    copy(cluster, data_dir)
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
