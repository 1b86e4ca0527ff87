"""What a database URL says: where the database is, and whether the URL is well formed.

Owns the name under which messages and logs show a database. It never connects, and never shows a password.
"""

from urllib.parse import parse_qsl, unquote, urlsplit

from hub.errors import SettingsError

PORT = "5432"
FORM = "write DATABASE_URL (or --database-url) as postgresql://user:password@host:port/name"


def address(url: str) -> str:
    """The database's name with its host and port, or with its socket: "notes on 127.0.0.1:5432".

    Raises SettingsError for a malformed URL. The message shows no part of the URL: what looks like a host or a port may
    be part of a password in which a character is not escaped.
    """
    try:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
    except ValueError as error:
        raise _malformed("is malformed") from error
    if parts.scheme not in ("postgresql", "postgres") or "://" not in url:
        raise _malformed("does not begin with postgresql://")
    user, _, hosts = parts.netloc.rpartition("@")
    if parts.fragment or "@" in user + parts.path or ("@" in parts.query and "@" not in parts.netloc):
        raise _malformed("has a character that must be escaped (@ as %40, / as %2F, ? as %3F, # as %23)")
    name = unquote(parts.path[1:]) or query.get("dbname") or query.get("database")
    name = name or unquote(user.partition(":")[0]) or query.get("user") or "the default database"
    places = [unquote(host) for host in (hosts or query.get("host", "")).split(",")]
    ports = query.get("port", PORT).split(",")
    named = [_place(host, ports[min(number, len(ports) - 1)]) for number, host in enumerate(places)]
    return f"{name} on {' or '.join(named)}"


def _place(host: str, port: str) -> str:
    """One host with its own port, or else with the port given here."""
    if host.startswith(("/", "@")):
        return f"{host}/.s.PGSQL.{_checked(port)}"
    end = host.rfind(":")
    if end > host.rfind("]"):
        host, port = host[:end], host[end + 1 :]
    return f"{host}:{_checked(port)}" if host else f"the default host{'' if _checked(port) == PORT else ':' + port}"


def _checked(port: str) -> str:
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise _malformed("has a port that is no number from 1 to 65535")
    return port


def _malformed(what: str) -> SettingsError:
    return SettingsError(f"The database URL {what}: {FORM}.")
