"""The controls: each takes one protection out, so that a run must fail, and says by which finding.

Owns switches in test code alone: functions of the test's database, the hub's wrapper, subclasses of
the client. Nothing in ``hub/`` knows of them.
"""

from typing import NamedTuple

import asyncpg
import msgspec

from hub.client.state import Client
from hub.protocol.codec import encode
from tests.faults.clients import Habits


class KeylessClient(Client):
    """Sends its notes again as every client does, but without the key by which the hub would know them."""

    def publish(self, username: str, body: str, topic: str | None = None, key: str | None = None) -> str:
        key = super().publish(username, body, topic, key)
        self.outbox[key] = msgspec.structs.replace(self.outbox[key], key=None)
        if self._welcomed:
            self._sending[-1] = encode(self.outbox[key])
        return key


class BelievingClient(Client):
    """Takes every event that it is sent for a new one."""

    def _is_new(self, topic: str, seq: int) -> bool:
        super()._is_new(topic, seq)
        return True


class Control(NamedTuple):
    """What is taken out, and the kinds of findings that show it: the one that must come, those that may follow."""

    expected: str
    follows: frozenset[str]
    client: type[Client] = Client
    hub_options: tuple[str, ...] = ()
    lock: bool = True
    habits: Habits = Habits()
    faults: tuple[str, ...] = ()  # the faults that bring it to light; the others would only cost time


NONE = Control("", frozenset())
CONTROLS = {
    # Without the lock two transactions may draw one seq, and the log's primary key then refuses one of them.
    "lock": Control("missing", frozenset({"state", "trouble"}), lock=False, faults=("listener_kill",)),
    "prev": Control("missing", frozenset({"state"}), hub_options=("--without", "prev"), faults=("cut",)),
    # Old events come again: within a topic's record twice, or from before its start, where they are out of order.
    # New ones of a subscription that has ended come before the old ones of the next, and end a record too early.
    "dedup": Control(
        "twice",
        frozenset({"order", "unknown", "state", "missing"}),
        client=BelievingClient,
        habits=Habits(hop=1.5, stale=0.9),
        faults=("cut",),
    ),
    # A copy may be saved after everyone was found to have everything: then the others seem to miss it.
    "key": Control(
        "published_twice",
        frozenset({"missing", "state"}),
        client=KeylessClient,
        habits=Habits(publish=40, hop=2),
        faults=("cut",),
    ),
}


async def take_out_lock(database: asyncpg.Connection) -> None:
    """Replace every function of the schema that takes the advisory lock by the same one without it."""
    rows = await database.fetch(
        """
        select pg_get_functiondef(p.oid) as source from pg_proc p join pg_namespace n on n.oid = p.pronamespace
        where n.nspname = 'public' and p.prosrc ~ 'pg_advisory_xact_lock'
        """
    )
    assert rows, "no function takes the lock any more: mend this control"
    for row in rows:
        lines = [line for line in row["source"].splitlines() if "pg_advisory_xact_lock" not in line]
        await database.execute("\n".join(lines))
