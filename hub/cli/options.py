"""What all commands of ``notes-hub`` share: options made from the settings, logging, errors in one line.

Owns the click group. Every failure that a person can cause or mend ends in one line and a non-zero
exit, never a traceback.
"""

import asyncio
import functools
import logging
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import click
import msgspec
import structlog

from hub import __version__
from hub.errors import HubError, SettingsError
from hub.settings import Settings, environment_names, load, unknown

log = structlog.get_logger()

KNOWN_ERRORS = (HubError, OSError)  # TimeoutError is an OSError


def options(*fields: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options of these settings (none named: of all), and call it with the Settings."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def command(**given: Any) -> Any:
            values = {name: given.pop(name, None) for name in Settings.__struct_fields__}
            try:
                settings = load(os.environ, values)
            except SettingsError as error:
                raise click.ClickException(str(error)) from error
            set_up_logging(settings.log_level)
            for name in unknown(os.environ):
                log.warning("unknown_setting", variable=name)
            return function(settings, **given)

        for field in reversed(msgspec.structs.fields(Settings)):
            if not fields or field.name in fields or field.name == "log_level":
                command = _option(field)(command)
        return command

    return decorate


def _option(field: msgspec.structs.FieldInfo) -> Callable[[Any], Any]:
    info = msgspec.inspect.type_info(field.type)
    description = (
        (info.extra_json_schema or {}).get("description", "") if isinstance(info, msgspec.inspect.Metadata) else ""
    )
    default = str(field.default).lower() if isinstance(field.default, bool) else field.default
    shown = f"  [{', '.join(environment_names(field.name))}; default: {'none' if default == '' else default}]"
    return click.option("--" + field.name.replace("_", "-"), field.name, metavar="VALUE", help=description + shown)


def set_up_logging(level: str) -> None:
    """Log to standard error: for people on a terminal, otherwise one JSON object a line."""
    renderer: Any = structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=not sys.stderr.isatty()),
            *([] if sys.stderr.isatty() else [structlog.processors.format_exc_info]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        # A line in one write: the lines of workers that share standard error don't run into each other.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def run(main: Coroutine[Any, Any, int | None]) -> None:
    """Run to the end and exit with its status; known failures become one line."""
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            sys.exit(runner.run(main) or 0)
    except BrokenPipeError:
        # Whoever read our output has seen enough; nothing more can be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(130)
    except BaseExceptionGroup as group:
        known, other = group.split(KNOWN_ERRORS)
        if other or known is None:
            raise
        raise click.ClickException(_one_line(known)) from group
    except KNOWN_ERRORS as error:
        raise click.ClickException(_one_line(error)) from error


def _one_line(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return " ".join(str(error).split()) or type(error).__name__


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:  # Windows has none; the standard loop does the same, slower
        return None
    return uvloop.new_event_loop


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="notes-hub")
def main() -> None:
    """Notes committed to Postgres reach every browser, terminal and script at once.

    \b
    notes-hub serve                          run the hub on http://127.0.0.1:8080
    notes-hub post -u gb "Hello World!"      add a note through it
    notes-hub psql                           open the database
    """
