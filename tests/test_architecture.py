"""docs/architecture.md is true: its recipe works as it stands, and it names every room."""

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.programs import output

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs/architecture.md").read_text("utf-8")
RECIPE = TEXT.partition("### A command\n")[2].partition("\n### A setting")[0]


def test_every_room_is_in_the_picture() -> None:
    """Each folder of hub/ is in the picture or the text below it, and says what it owns."""
    for room in sorted(path for path in (ROOT / "hub").iterdir() if (path / "__init__.py").exists()):
        assert re.search(rf"\b{room.name}\b", TEXT.partition("## A notification")[0]), room.name
        assert "Owns " in (room / "__init__.py").read_text("utf-8"), room.name


def test_every_room_is_installed() -> None:
    """setup.cfg lists each package, so that a wheel has it."""
    listed = re.findall(r"^    (hub[\w.]*)$", (ROOT / "setup.cfg").read_text("utf-8").partition("package_dir")[0], re.M)
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "hub").rglob("__init__.py")}
    assert found <= set(listed)


def test_every_file_that_it_names_is_there() -> None:
    """Each path that the document names exists, but for those of its example."""
    for path in set(re.findall(r"`((?:hub|tests|sql|docs)/[\w/.]+\.\w+)`", TEXT)):
        assert (ROOT / path).exists() or "position" in path or "0005" in path, path


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project, without what is made."""
    for name in ("hub", "sql", "tests", "docs", "web"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("dist", "__pycache__", "*.png"))
    shutil.copy(ROOT / "setup.cfg", tmp_path)
    return tmp_path


async def test_the_recipe_for_a_command(copy: Path) -> None:
    """Who follows the recipe to the letter has a command that works, and whose tests pass."""
    struct, function, test = re.findall(r"```python\n(.*?)```", RECIPE, re.S)
    (section,) = re.findall(r"```markdown\n(.*?)```", RECIPE, re.S)
    where = re.findall(r"in `((?:hub|tests|docs)/[^`]+)`", RECIPE)
    messages, document = copy / where[0], copy / where[3]
    messages.write_text(
        messages.read_text("utf-8").replace("# Hub → client.", struct + "\n\n# Hub → client.", 1), "utf-8"
    )
    (copy / where[1]).write_text(function, "utf-8")
    (copy / where[2]).write_text(test, "utf-8")
    document.write_text(
        document.read_text("utf-8").replace("## Hub to client", section + "\n## Hub to client", 1), "utf-8"
    )
    pytest_command = [sys.executable, "-P", "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist"]
    environ = {"PYTHONPATH": str(copy), "TMPDIR": os.environ.get("TMPDIR", "/tmp")}
    said = await output(
        *pytest_command, "--rootdir", copy, "-c", copy / "setup.cfg", copy / "tests/server/commands", **environ
    )
    assert re.search(r"\b\d+ passed", said) and "failed" not in said, said
    code = "from hub.server import commands; print([kind.__name__ for kind in commands.KINDS])"
    assert "'Position'" in await output(sys.executable, "-P", "-c", code, **environ)
