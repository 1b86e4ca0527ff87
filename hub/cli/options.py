"""Command-line options made from the settings.

Owns the decorator `options`, which gives a command one option for each setting that it uses. A new field of `Settings`
is an option of ``notes-hub serve`` without a change here. Values and their checks are `hub.settings`'s.
"""

import functools
import os
from collections.abc import Callable
from typing import Any

import click
import msgspec
import structlog

from hub import process
from hub.cli.run import errors_in_one_line
from hub.settings import Settings, environment_names, load, unknown

log = structlog.get_logger()


def options(*fields: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options of these settings, or of all when none is named; `log_level` is always among them.

    The command's function is called with the Settings first, after logging is set up. A wrong value ends the command
    with one line (click.ClickException); a misspelt variable of the environment is logged.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def command(**given: Any) -> Any:
            values = {name: given.pop(name, None) for name in Settings.__struct_fields__}
            with errors_in_one_line():
                settings = load(os.environ, values)
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
