"""What Postgres's error codes mean for whoever asked.

Owns the one table that tells what a note is itself guilty of from what has nothing to do with it. Only the first is
refused. For all else the same may work later: it passes by itself, or somebody has to mend the database.
"""

from typing import Final, NamedTuple

import asyncpg

from hub.errors import CommandError, Held, Refused, Unavailable


class Trouble(NamedTuple):
    """Why the database can't do something now; `what` is safe to show to anybody."""

    what: str
    passes: bool  # by itself; otherwise the database's owner has to mend something


HELD = Trouble("another transaction holds what this needs", passes=True)

# By SQLSTATE or its class (the manual's appendix on error codes); the whole code counts first. What is not here is
# refused: classes 22 (data), 23 (constraints), 44 (a view's check), P0 (RAISE), and codes that owners make up.
TROUBLES: Final = {
    "08": Trouble("the connection broke", passes=True),
    "0A": Trouble("its schema is being changed, or a function lacks something", passes=True),
    "25": Trouble("its transaction was ended", passes=True),
    "25006": Trouble("it is read-only, as during a failover", passes=True),
    "26": Trouble("a pooler mixes up its connections", passes=False),
    "28": Trouble("it does not let the hub in", passes=False),
    "3D": Trouble("there is no such database", passes=False),
    "3F": Trouble("a schema is missing", passes=False),
    "40": HELD,
    "42": Trouble("a table or function is not as the hub needs it", passes=False),
    "42P05": Trouble("a pooler mixes up its connections", passes=False),
    "42501": Trouble("the hub lacks a right", passes=False),
    "42P01": Trouble("a table is missing", passes=False),
    "53": Trouble("it is out of resources", passes=True),
    "53100": Trouble("its disk is full", passes=True),
    "53200": Trouble("it is out of memory", passes=True),
    "53300": Trouble("it has no connection left", passes=True),
    "55": Trouble("something in it is in use or not ready", passes=True),
    "55P03": HELD,
    "57": Trouble("it is stopping or starting", passes=True),
    "57014": Trouble("it took too long", passes=True),
    "58": Trouble("its system failed", passes=True),
    "F0": Trouble("its configuration is wrong", passes=False),
    "HV": Trouble("a foreign server failed", passes=True),
    "XX": Trouble("it met an internal error", passes=False),
}
UNKNOWN: Final = ("08", "57")  # classes after which the commit may have happened all the same


def trouble(state: str) -> Trouble | None:
    """What keeps the database from doing this now; None if what was asked is itself at fault."""
    return TROUBLES.get(state) or TROUBLES.get(state[:2])


def error_of(state: str, message: str) -> CommandError:
    """The error for a client. `message` is Postgres's own; its first line is shown only where the note is at fault."""
    message = message.partition("\n")[0]
    found = trouble(state)
    if found is None:
        return Refused(message)
    if found is HELD:
        return Held(message)
    what = "" if state[:2] in UNKNOWN and state != "57014" else found.what
    return Unavailable(message, what, found.passes)


def state_of(error: asyncpg.PostgresError) -> str:
    """The SQLSTATE of an error; of one that has none, that of an internal error."""
    return getattr(error, "sqlstate", None) or "XX000"
