"""The registry: one function for each command, found by its file; and what the documents say of it."""

import re
from pathlib import Path

import msgspec
import pytest

from hub.protocol import messages
from hub.server.commands import KINDS
from hub.server.commands.registry import HANDLERS

PROTOCOL = (Path(__file__).parents[3] / "docs/protocol.md").read_text("utf-8")
COMMANDS = {str(kind.__struct_config__.tag): kind for kind in KINDS}


def test_each_command_is_a_file() -> None:
    """A command is carried out by the module of its name, which says what it is."""
    for name, kind in COMMANDS.items():
        handler = HANDLERS[kind]
        assert handler.__module__ == f"hub.server.commands.{name}" and handler.__doc__ and kind.__doc__


def test_each_struct_has_a_command() -> None:
    """Every struct that only the client sends, which is one that refuses unknown fields, is carried out."""
    sent = [each for each in vars(messages).values() if isinstance(each, type) and issubclass(each, msgspec.Struct)]
    assert {each for each in sent if each.__struct_config__.forbid_unknown_fields} == set(KINDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_document_has_it(name: str) -> None:
    """docs/protocol.md has a section for each command, whose table has exactly its fields."""
    commands = PROTOCOL.partition("## Client to hub")[2].partition("\n## ")[0]
    section = commands.partition(f"### `{name}`\n")[2].partition("\n### ")[0]
    assert section, f"docs/protocol.md says nothing of {name}"
    rows = re.findall(r"^\| `(\w+)` \|", section, re.M)
    assert sorted(rows or ["id"]) == sorted(COMMANDS[name].__struct_fields__)
