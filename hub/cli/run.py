"""How a command's work runs to its end.

Owns the way from an error to the one line that a person sees. Which errors are known, and what the exit status is,
`hub.process` decides.
"""

import contextlib
import sys
from collections.abc import Coroutine, Iterator
from typing import Any

import click

from hub import process
from hub.errors import HubError


def run(work: Coroutine[Any, Any, int | None]) -> None:
    """Run a command's work to its end and exit with the status that it returns (None: 0).

    Raises click.ClickException, which click prints as one line and ends with status 1, for HubError and OSError.
    """
    with errors_in_one_line():
        status = process.run(work)
    sys.exit(status)


@contextlib.contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Turn a HubError of the block into a click.ClickException with the same message."""
    try:
        yield
    except HubError as error:
        raise click.ClickException(str(error)) from error
