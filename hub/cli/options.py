"""What all commands of ``notes-hub`` share: options made from the settings, logging, errors in one line.

Owns the click group. Every failure that a person can cause or mend ends in one line and a non-zero
exit, never a traceback.
"""

import functools
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import click
import msgspec
import structlog

from hub import __version__, process
from hub.errors import HubError, SettingsError
from hub.settings import Settings, environment_names, load, unknown

log = structlog.get_logger()


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
            process.set_up_logging(settings.log_level)
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


def run(work: Coroutine[Any, Any, int | None]) -> None:
    """Run a command's work to its end and exit with its status; a known failure becomes one line and status 1."""
    try:
        status = process.run(work)
    except HubError as error:
        raise click.ClickException(str(error)) from error
    sys.exit(status)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="notes-hub")
def main() -> None:
    """Notes committed to Postgres reach every browser, terminal and script at once.

    \b
    notes-hub serve                          run the hub on http://127.0.0.1:8080
    notes-hub post -u gb "Hello World!"      add a note through it
    notes-hub psql                           open the database
    """
