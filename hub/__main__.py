"""Runs the command ``notes-hub``, also as ``python -m hub``.

Owns the first moments of the process: until a command's work begins, which `hub.process` runs, Ctrl-C ends it at once.
"""

import os
import signal


def main() -> None:
    """Run the command line and exit."""
    # Imports take most of a start, and a KeyboardInterrupt in the middle of one is printed, or even lost.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    from hub import cli

    cli.main(prog_name="notes-hub")


if __name__ == "__main__":
    main()
