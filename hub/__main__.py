"""Runs the command: ``python -m hub``."""

from hub.cli import main

main(prog_name="notes-hub")
