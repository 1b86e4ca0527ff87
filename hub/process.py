"""What the hub asks of its own process: log, event loop, signals, open files, garbage collection, exit.

Owns everything that applies to the process as a whole; `hub.cli` and the workers start from here. It knows nothing of
notes, clients or Postgres, and imports no module of this package but `hub.errors`.
"""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Coroutine
from typing import Any

import structlog

from hub.errors import HubError

# A hub allocates many objects and makes few cycles. With Python's own thresholds a busy hub spent a fifth of its time
# on looking for cycles.
GC_THRESHOLD = (50_000, 20, 50)
KNOWN_ERRORS = (HubError, OSError)  # what a person can cause or mend; TimeoutError is an OSError


def set_up_logging(level: str) -> None:
    """Log to standard error from a level on: "debug", "info", "warning" or "error".

    A terminal gets coloured lines for people, anything else gets one JSON object a line.
    """
    terminal = sys.stderr.isatty()
    renderer: Any = structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=not terminal),
            *([] if terminal else [structlog.processors.format_exc_info]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        # This logger writes each line with one call, so the lines of workers that share standard error do not mix.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_Forward()])


class _Forward(logging.Handler):
    """Passes on what libraries log, from warnings on, so that it has the form of all other lines."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record."""
        fields: dict[str, Any] = {"exc_info": record.exc_info} if record.exc_info else {}
        structlog.get_logger().log(
            record.levelno, "library_message", library=record.name, message=record.getMessage(), **fields
        )


def new_event_loop() -> asyncio.AbstractEventLoop:
    """A new event loop: uvloop's, or the standard one where uvloop does not exist (Windows), which is slower."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def run(work: Coroutine[Any, Any, int | None]) -> int:
    """Run a coroutine to its end and return the exit status: what it returns, 0 for None, 130 after Ctrl-C.

    Raises HubError with a message of one line for whatever a person can cause or mend (KNOWN_ERRORS, also in a group).
    Any other exception is a bug and comes out as it is.
    """
    try:
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever it was while the command was loaded
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            return runner.run(work) or 0
    except BrokenPipeError:
        # The reader of our output has closed it. Python flushes standard output at exit, which would fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except BaseException as error:
        if (line := _one_line(error)) is None:
            raise
        raise HubError(line) from error


def _one_line(error: BaseException) -> str | None:
    """The message of a known error as one line; None for any other. Of a group it is the first error's."""
    if isinstance(error, BaseExceptionGroup):
        known, other = error.split(KNOWN_ERRORS)
        if other or known is None:
            return None
        error = known
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
    if not isinstance(error, KNOWN_ERRORS):
        return None
    return " ".join(str(error).split()) or type(error).__name__


def prepare() -> asyncio.Event:
    """Prepare the process for serving and return an event that SIGINT, SIGTERM and SIGHUP set.

    A SIGHUP that is ignored, as under nohup(1), stays so. Needs a running event loop.
    Raises HubError on Windows, whose event loops have no signal handlers (Python manual, asyncio, "Platform Support").
    """
    if sys.platform == "win32":
        raise HubError("the hub needs Linux or macOS")
    allow_many_files()
    gc.set_threshold(*GC_THRESHOLD)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def allow_many_files() -> None:
    """Raise the limit of open files to the most that the system allows, since every client is an open file."""
    import resource  # Unix only

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # some systems refuse their own hard limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def until(stop: asyncio.Event, work: Coroutine[Any, Any, object]) -> None:
    """Wait until the work is done, or cancel it when `stop` is set first. Raises what the work raises."""
    task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
    finally:
        for each in (task, stopped):
            each.cancel()
