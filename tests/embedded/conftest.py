"""What these tests share: folders that other users can enter, with and without a cluster."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import copy
from tests.embedded.servers import servers, wait_until


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user can write to; after the test nothing may run in it."""
    path = Path(tempfile.mkdtemp(prefix="hub-"))
    path.chmod(0o777)
    yield path
    wait_until(lambda: not servers(path))
    shutil.rmtree(path)


@pytest.fixture
def data_dir(folder: Path) -> Path:
    """A data folder that does not exist yet."""
    return folder / "data"


@pytest.fixture
def ready_dir(data_dir: Path, cluster: Path) -> Path:
    """A data folder with a cluster that was never started."""
    copy(cluster, data_dir)
    return data_dir
