"""Database URLs: how a database is named to people, and what is refused before anything is connected to."""

import pytest

from hub.errors import SettingsError
from hub.postgres.address import address

SECRET = "s3cret"


@pytest.mark.parametrize(
    ("url", "named"),
    [
        (f"postgresql://hub:{SECRET}@db.example:6432/notes", "notes on db.example:6432"),
        ("postgres://db/notes", "notes on db:5432"),
        ("postgresql://hub@[::1]:5433/my%20notes", "my notes on [::1]:5433"),
        ("postgresql://hub@[::1]/notes", "notes on [::1]:5432"),
        ("postgresql://hub@a,b:5433/notes", "notes on a:5432 or b:5433"),
        ("postgresql://hub@/notes?host=/var/run/postgresql&port=5433", "notes on /var/run/postgresql/.s.PGSQL.5433"),
        (f"postgresql://hub@/?host=db&dbname=notes&password={SECRET}", "notes on db:5432"),
        ("postgresql://hub@db", "hub on db:5432"),
        ("postgresql:///notes", "notes on the default host"),
    ],
)
def test_address(url: str, named: str) -> None:
    """A database is named by its name, host and port or socket, never with a password."""
    assert address(url) == named


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "",
        "mysql://db/notes",
        "postgresql:notes",
        f"postgresql://x:{SECRET}@h:abc/x",
        f"postgresql://x:{SECRET}@h:0/x",
        f"postgresql://x:{SECRET}@h:70000/x",
        f"postgresql://x:{SECRET}@h/x?port=abc",
        f"postgresql://x:{SECRET}@h/x?host",
        f"postgresql://x:{SECRET}@[::1/x",
        f"postgresql://x:@{SECRET}@h/x",
        f"postgresql://x:12/{SECRET}@h/x",
        f"postgresql://x:1@2/{SECRET}@h/x",
        f"postgresql://x:12#{SECRET}@h/x",
        f"postgresql://x:12?{SECRET}=@h/x",
        f"postgresql://x:{SECRET}/@h/x",
    ],
)
def test_malformed(url: str) -> None:
    """A malformed URL is refused in one line that shows the right form and nothing of a password."""
    with pytest.raises(SettingsError) as caught:
        address(url)
    message = str(caught.value)
    assert "postgresql://user:password@host:port/name" in message and "\n" not in message and SECRET not in message
