"""Runs the command: ``python -m hub``."""

from hub.cli.serve import main

main(prog_name="notes-hub")
