"""The command ``notes-hub``.

Owns the table of commands, and in one file for each group of commands what they say and print. Every failure that a
person can cause or mend ends in one line and a non-zero exit status, never in a traceback. This package never serves,
listens or stores by itself: it calls the rooms that do.

To add a command, write it in a file of this folder, as a click command whose function has the command's name (with _
for -), and add one line to COMMANDS.
"""

import importlib
from typing import Any

import click

from hub import __version__

# Name: the module of `hub.cli` that has it, and the first sentence of its help. The sentence stands here so that
# `notes-hub --help` imports no module; a test compares it with the command's own.
COMMANDS = {
    "chat": ("chat", "Chat in the terminal."),
    "check": ("databases", "Say what is wrong with the database."),
    "database-url": ("databases", "Print the URL of the database."),
    "listen": ("databases", "Print notifications of Postgres itself."),
    "migrate": ("databases", "Bring the database to this schema."),
    "post": ("clients", "Add a note through a hub."),
    "prune": ("databases", "Trim the log, not the notes."),
    "psql": ("databases", "Open the database in psql; what follows is psql's."),
    "serve": ("serve", "Run the hub."),
    "tail": ("clients", "Print notes as they come, until Ctrl-C."),
}


class Deferred(click.Command):
    """A command whose module is imported when the command is used, and not when it is only listed."""

    def __init__(self, name: str, module: str, summary: str) -> None:
        super().__init__(name, help=summary)
        self.module = f"hub.cli.{module}"

    def load(self) -> click.Command:
        """Import the module and return the command itself."""
        command = getattr(importlib.import_module(self.module), str(self.name).replace("-", "_"))
        assert isinstance(command, click.Command), f"{self.module} has no command {self.name}"
        return command

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """The context of the command itself, in which click then runs it."""
        return self.load().make_context(info_name, args, parent, **extra)


@click.group(
    commands=[Deferred(name, *entry) for name, entry in COMMANDS.items()],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="notes-hub")
def main() -> None:
    """Notes committed to Postgres reach every browser, terminal and script at once.

    \b
    notes-hub serve                          run the hub on http://127.0.0.1:8080
    notes-hub post -u gb "Hello World!"      add a note through it
    notes-hub psql                           open the database
    """
