"""The table of commands: it says what the commands say themselves, and imports them only when they are used."""

import subprocess
import sys

import pytest

from hub.cli import main

# What a program has imported once a command has ended, on standard output after what the command prints.
CODE = """
import sys
from hub.cli import main
try:
    main(sys.argv[1:], prog_name="notes-hub")
finally:
    print("imported", *sys.modules)
"""


def imported(*arguments: str) -> set[str]:
    """The top-level modules that a command imports."""
    ended = subprocess.run([sys.executable, "-c", CODE, *arguments], check=False, capture_output=True, text=True)
    assert "Traceback" not in ended.stderr, ended.stderr
    names = ended.stdout.splitlines()[-1].split()
    assert names[0] == "imported"
    return {name.partition(".")[0] for name in names[1:]}


@pytest.mark.parametrize("name", sorted(main.commands))
def test_summaries(name: str) -> None:
    """The table has each command's first sentence, word for word."""
    entry = main.commands[name]
    command = entry.load()
    assert (command.name, command.get_short_help_str(1000)) == (name, entry.get_short_help_str(1000))


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["sevre"]])
def test_what_is_quick(arguments: list[str]) -> None:
    """The version, the list of commands and a misspelt command need none of the libraries that commands need."""
    slow = {"aiohttp", "asyncio", "asyncpg", "msgspec", "prompt_toolkit", "structlog", "uvloop"}
    assert not imported(*arguments) & slow


def test_post_needs_no_terminal() -> None:
    """Only chat imports prompt_toolkit, and only commands on the database import asyncpg."""
    assert not imported("post", "-u", "gb", " ") & {"prompt_toolkit", "asyncpg"}
    assert not imported("tail", "--last", "0") & {"prompt_toolkit", "asyncpg"}
