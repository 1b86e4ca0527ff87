"""Every error that a caller of this package may want to catch.

Owns the classes and nothing that raises them. All derive from HubError, and each message is a sentence for people, so
whoever catches HubError and prints it needs nothing else. Standard library and `hub.protocol.messages` only: the
browser runs this file too.
"""

from hub.protocol.messages import Error


class HubError(Exception):
    """Something that a person can cause or mend; the message says what is wrong and what to do."""


class SettingsError(HubError):
    """A setting has a value that it cannot have. The message names the setting and what was expected."""


class EmbeddedError(HubError):
    """The embedded Postgres cannot run. The message is one line."""


class MigrationError(HubError):
    """A file of ``sql/`` could not be applied. The message names the file and Postgres's reason."""


class DatabaseError(HubError):
    """Postgres refuses what was asked of it, or the connection broke. The message is Postgres's or the system's."""


class NotListening(HubError):
    """LISTEN succeeds and delivers nothing, as behind a pooler in transaction mode."""


class WorkerError(HubError):
    """Worker processes cannot serve."""


class ClosedError(HubError):
    """The hub closed the connection for good. The message is the hub's reason."""


class RejectedError(HubError):
    """The hub refused a note for good. `error` is its answer."""

    def __init__(self, error: Error) -> None:
        super().__init__(f"{error.message} {error.hint}")
        self.error = error


class CommandError(HubError):
    """A command that cannot be carried out. `error` is the reply to it."""

    def __init__(self, error: Error) -> None:
        super().__init__(error.message)
        self.error = error


class Unavailable(CommandError):
    """The database cannot do this now, whatever was asked. The same may work later.

    `reason` is for logs. `what` says for anybody why nothing was done; without it nobody knows whether it was.
    `passes` says whether it does by itself.
    """

    def __init__(self, reason: str, what: str = "", passes: bool = True) -> None:
        message = "The database can't be reached, so it is not known whether this was done."
        hint = "Try again soon; a publish with a `key` can be sent again without being saved twice."
        if what:
            message = f"The database can't do this now: {what}. Nothing was done."
            hint = "Try again soon." if passes else "Try again later; the database's owner has to mend this."
        super().__init__(Error("unavailable", message, hint, temporary=True))
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class Held(Unavailable):
    """Another transaction has what this needs; the same may work as soon as that ends. Nothing was done."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, "another transaction holds what this needs")


class Refused(CommandError):
    """Postgres refuses what was asked for its own sake. `reason` is Postgres's own message."""

    def __init__(self, reason: str) -> None:
        hint = "Change it as the message says, or ask the database's owner."
        super().__init__(Error("refused", f"The database refused this: {reason}", hint))
        self.reason = reason
