"""Runs the command ``notes-hub`` as ``python -m hub``."""

from hub.cli import main

main(prog_name="notes-hub")
