"""Where settings come from, which of the sources wins, and what is said about a wrong one."""

from pathlib import Path

import msgspec
import pytest

from hub import settings
from hub.errors import SettingsError
from hub.settings import ALIASES, Settings, environment_names, load, unknown

FIELDS = Settings.__struct_fields__


def test_defaults() -> None:
    """With nothing given everything has its default, and that is valid."""
    assert load({}, {}) == Settings()
    assert msgspec.convert(msgspec.to_builtins(Settings()), Settings) == Settings()


def another(field: str) -> tuple[str, object]:
    """A valid value as text, other than the default, and what it means."""
    default = getattr(Settings(), field)
    if field == "log_level":
        return "debug", "debug"
    if field == "allowed_origins":
        return "https://another.example", "https://another.example"
    if isinstance(default, bool):
        return str(not default).lower(), not default
    if isinstance(default, str):
        return "another", "another"
    return str(default + 1), default + 1


@pytest.mark.parametrize("field", FIELDS)
def test_environment(field: str) -> None:
    """Every setting can be given as HUB_… in the environment."""
    text, value = another(field)
    assert getattr(load({f"HUB_{field.upper()}": text}, {}), field) == value


@pytest.mark.parametrize("field", FIELDS)
def test_option(field: str) -> None:
    """Every setting can be given as an option, which is stronger than the environment."""
    text, value = another(field)
    environ = dict.fromkeys(environment_names(field), "nonsense that nobody reads")
    assert getattr(load(environ, {field: text}), field) == value


@pytest.mark.parametrize(("field", "alias"), ALIASES.items())
def test_aliases(field: str, alias: str) -> None:
    """The names of hosting platforms count, and the HUB_ ones are stronger."""
    text, value = another(field)
    assert getattr(load({alias: text}, {}), field) == value
    assert getattr(load({alias: "99999999", f"HUB_{field.upper()}": text}, {}), field) == value


def test_aliases_are_those_of_platforms() -> None:
    """PORT and DATABASE_URL are understood."""
    loaded = load({"PORT": "80", "DATABASE_URL": "postgresql://x/y"}, {})
    assert (loaded.port, loaded.database_url) == (80, "postgresql://x/y")


def test_empty_is_not_given() -> None:
    """A variable that is set to nothing counts as not set, as does an option that is not given."""
    assert load({"HUB_PORT": "", "PORT": "81"}, {"port": None}).port == 81
    assert load({"HUB_PORT": "", "PORT": ""}, {}) == Settings()


@pytest.mark.parametrize(
    ("environ", "options", "words"),
    [
        ({"HUB_PORT": "eighty"}, {}, ["HUB_PORT is 'eighty': expected a whole number."]),
        ({}, {"port": "abc"}, ["--port is 'abc': expected a whole number."]),
        ({}, {"ping_interval": "abc"}, ["--ping-interval is 'abc': expected a number."]),
        ({}, {"allowed_origins": "example.com"}, ["--allowed-origins is 'example.com'", "such as https://example.com"]),
        ({"HUB_ALLOWED_ORIGINS": "*, http://a/b"}, {}, ["HUB_ALLOWED_ORIGINS is '*, http://a/b'", "got `http://a/b`"]),
        (
            {},
            {"allowed_hosts": "http://a.example"},
            ["--allowed-hosts is 'http://a.example'", "without scheme and port"],
        ),
        ({"HUB_ALLOWED_HOSTS": "a.example:80"}, {}, ["HUB_ALLOWED_HOSTS", "without scheme and port"]),
        ({"PORT": "70000"}, {}, ["PORT is '70000'", "65535"]),
        ({"HUB_PORT": "1"}, {"port": "-1"}, ["--port is '-1'", "0"]),
        ({"HUB_PING_INTERVAL": "0"}, {}, ["HUB_PING_INTERVAL", "> 0"]),
        ({}, {"max_topics": "0"}, ["--max-topics is '0'", ">= 1"]),
        ({"HUB_LOG_LEVEL": "loud"}, {}, ["HUB_LOG_LEVEL is 'loud'", "debug"]),
        ({"HUB_RING_BYTES": "16MB"}, {}, ["HUB_RING_BYTES is '16MB'"]),
    ],
)
def test_errors_name_the_source(environ: dict[str, str], options: dict[str, str], words: list[str]) -> None:
    """A wrong value is one line with the variable or option that it came from, the value, and what was expected."""
    with pytest.raises(SettingsError) as caught:
        load(environ, options)
    message = str(caught.value)
    assert all(word in message for word in words) and "\n" not in message and message.endswith(".")


def test_a_weaker_source_that_is_wrong_does_not_matter() -> None:
    """Only the value that counts is looked at."""
    assert load({"PORT": "nonsense", "HUB_PORT": "82"}, {}).port == 82


def test_unknown() -> None:
    """A misspelt variable is found; the known ones and everybody else's are not complained of."""
    known = {name: "1" for field in FIELDS for name in environment_names(field)}
    assert unknown(known | {"HUB_PROT": "1", "HUBCAP": "1", "PATH": "/bin"}) == ["HUB_PROT"]


def test_origins() -> None:
    """Origins are parted by commas; blanks and a slash at the end do not matter."""
    assert Settings(allowed_origins=" https://a.example/ ,http://b:8000,, ").origins == {
        "https://a.example",
        "http://b:8000",
    }
    assert Settings(allowed_origins="").origins == frozenset()


def test_data_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """The data folder is absolute, and ~ is the user's home."""
    monkeypatch.setenv("HOME", "/home/gb")
    assert Settings(data_dir="~/notes").data_path == Path("/home/gb/notes")
    assert Settings(data_dir="notes").data_path == Path.cwd() / "notes"


def test_folders() -> None:
    """The SQL files and the page are found."""
    assert list(settings.SQL_DIR.glob("0001_*.sql")) and (settings.WEB_DIR / "index.html").is_file()


def test_every_setting_is_explained() -> None:
    """Every setting has a text for the help."""
    for field in msgspec.structs.fields(Settings):
        info = msgspec.inspect.type_info(field.type)
        assert isinstance(info, msgspec.inspect.Metadata), field.name
        assert (info.extra_json_schema or {}).get("description"), field.name
