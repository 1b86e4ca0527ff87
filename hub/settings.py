"""The settings of a hub, and where its files are.

Owns the one Settings struct. Each field is a command-line option (``--ring-bytes``) and a variable of the environment
(``HUB_RING_BYTES``); two fields have a second variable, with the name that hosting platforms use. This module gets both
as arguments, reads nothing else and opens nothing.

To add a setting, add a field here: its option, its variable, its check and its help follow.
"""

import ipaddress
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from hub.errors import SettingsError

PACKAGE = Path(__file__).parent
# In a checkout these folders stand beside the package, in an installed wheel they are inside it.
SQL_DIR, WEB_DIR = (folder if (folder := PACKAGE / name).is_dir() else PACKAGE.parent / name for name in ("sql", "web"))

ALIASES = {"port": "PORT", "database_url": "DATABASE_URL"}

# What msgspec says of a text that should be something else, and how people say it.
WORDS = {
    "`bool`, got `str`": "true or false",
    "`int`, got `str`": "a whole number",
    "`float`, got `str`": "a number",
}

Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0, le=86400)]

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#@\s]+", re.IGNORECASE)
_HOST_NAME = re.compile(r"[^:/?#@\s]+|[0-9a-f]*:[0-9a-f:.]*", re.IGNORECASE)


def about(text: str) -> Meta:
    """The help text of a field."""
    return Meta(description=text)


class Settings(Struct, frozen=True, kw_only=True):
    """Every setting with its default; sizes in bytes, times in seconds."""

    host: Annotated[str, about("Address to serve on; 0.0.0.0 for all.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="Port to serve on; 0 picks a free one.")] = 8080
    workers: Annotated[
        Count, about("Processes that share the port, each a hub on a core of its own; SIGHUP replaces them in turn.")
    ] = 1
    database_url: Annotated[
        str, about("Postgres to use, as postgresql://user:password@host:port/name. None: an embedded one.")
    ] = ""
    data_dir: Annotated[str, about("Folder of the embedded Postgres.")] = ".notes-hub"
    allowed_origins: Annotated[
        str,
        about("Other web pages that may use this hub, as origins parted by commas; * for any page."),
    ] = "http://localhost:8000,http://127.0.0.1:8000"
    allowed_hosts: Annotated[
        str,
        about(
            "Names by which this hub may be reached, parted by commas; * for any. Loopback names always may. "
            "None: only those when it serves on a loopback address, else any."
        ),
    ] = ""
    ring_bytes: Annotated[Count, about("Memory for recent events, from which reconnecting clients catch up.")] = (
        16 << 20
    )
    high_water: Annotated[Count, about("Unsent data at which a client counts as slow and is paged instead.")] = 1 << 20
    max_frame: Annotated[Count, about("Largest WebSocket message accepted from a client.")] = 64 << 10
    max_topics: Annotated[Count, about("Most topics that one client may subscribe to.")] = 128
    max_batch: Annotated[Count, about("Most notes written to Postgres in one statement.")] = 1000
    pool_size: Annotated[
        Count, about("Database connections for requests; three more publish, listen, and read for the listener.")
    ] = 4
    io_uring: Annotated[
        bool, about("Send to many clients by one call, by Linux's io_uring where that is allowed: true or false.")
    ] = True
    ping_interval: Annotated[Seconds, about("Silence after which a client is pinged, a stream gets a heartbeat.")] = (
        25.0
    )
    pong_timeout: Annotated[Seconds, about("Time that a pinged client has for its answer.")] = 8.0
    stall_timeout: Annotated[Seconds, about("Time after which a client that takes no data at all is closed.")] = 30.0
    check_interval: Annotated[Seconds, about("Time between checks of the listening connection against the log.")] = 2.0
    shutdown_timeout: Annotated[Seconds, about("Time for clients to leave when the hub stops.")] = 5.0
    log_level: Annotated[
        str, Meta(pattern="^(debug|info|warning|error)$", description="debug, info, warning or error.")
    ] = "info"

    def __post_init__(self) -> None:
        for origin in self.origins - {"*"}:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(f"Expected origins with their scheme, such as https://example.com, got `{origin}`")
        for host in _parts(self.allowed_hosts) - {"*"}:
            if not _HOST_NAME.fullmatch(host):
                raise ValueError(f"Expected names without scheme and port, such as notes.example.com, got `{host}`")

    @property
    def data_path(self) -> Path:
        """The folder of the embedded Postgres."""
        return Path(self.data_dir).expanduser().absolute()

    @property
    def origins(self) -> frozenset[str]:
        """The allowed origins, each without a slash at its end."""
        return frozenset(part.rstrip("/") for part in _parts(self.allowed_origins))

    @property
    def hosts(self) -> frozenset[str] | None:
        """The names by which the hub may be reached, besides loopback ones; None for any."""
        hosts = frozenset(part.lower() for part in _parts(self.allowed_hosts))
        return None if "*" in hosts or not (hosts or self.on_loopback) else hosts

    @property
    def on_loopback(self) -> bool:
        """Whether only programs of this machine reach the hub."""
        return is_loopback(self.host)


@lru_cache(1024)  # asked of every request
def is_loopback(name: str) -> bool:
    """Whether a name or address always means this machine: localhost and below (RFC 6761 §6.3), 127.0.0.0/8, ::1."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name.lower() == "localhost" or name.lower().endswith(".localhost")


def _parts(text: str) -> frozenset[str]:
    return frozenset(part.strip() for part in text.split(",") if part.strip())


def environment_names(field: str) -> list[str]:
    """The variables that set a field; the first one that is set counts."""
    return [f"HUB_{field.upper()}"] + ([ALIASES[field]] if field in ALIASES else [])


def load(environ: Mapping[str, str], options: Mapping[str, Any]) -> Settings:
    """Make settings from the environment and from command-line options, by field; an option wins over a variable.

    An option that is None and a variable that is empty count as not given. Raises SettingsError, whose message names
    the option or variable, its value, and what was expected.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for field in Settings.__struct_fields__:
        candidates = [("--" + field.replace("_", "-"), options.get(field))]
        candidates += [(name, environ.get(name)) for name in environment_names(field)]
        for source, value in candidates:
            if value not in (None, ""):
                values[field], sources[field] = value, source
                break
    for field, value in values.items():
        _check(field, value, sources[field])
    return msgspec.convert(values, Settings, strict=False)


def unknown(environ: Mapping[str, str]) -> list[str]:
    """The variables that look like settings and are none; they may be misspelt, so they deserve a warning."""
    known = {"HUB_URL"} | {name for field in Settings.__struct_fields__ for name in environment_names(field)}
    return sorted(name for name in environ if name.startswith("HUB_") and name not in known)


def _check(field: str, value: Any, source: str) -> None:
    try:
        msgspec.convert({field: value}, Settings, strict=False)
    except msgspec.ValidationError as error:
        expected = str(error).partition(" - at ")[0]
        for words, plain in WORDS.items():
            expected = expected.replace(words, plain)
        raise SettingsError(f"{source} is {value!r}: {expected[0].lower()}{expected[1:]}.") from error
