"""Programs that write to the table as any program may, each on a connection of its own, and do not care who listens.

Owns no truth: what was committed is asked of the database in the end. Never touches a client's note.
"""

import asyncio
import random
from collections import Counter, deque

import asyncpg

TOPICS = ("lobby", "ops", "news", "chat", "random")
ISOLATION = ("read_committed", "repeatable_read", "serializable")
SETTINGS = {"application_name": "fault writer", "deadlock_timeout": "50ms", "statement_timeout": "8s"}
INSERT = "insert into note (topic, username, body) select $1, $2, $3 || ' ' || n from generate_series(1, $4) n"
ABORTED = 0.2  # of the transactions
ROLLED_BACK = 0.3  # of the savepoints


class Abort(Exception):
    """A writer changed its mind."""


class Writers:
    """What all writers share: the rows that they may change, and the counts."""

    def __init__(self, url: str, seed: int, pause: float) -> None:
        self.counts = Counter[str]()
        self.stopping = False
        self._url = url
        self._seed = seed
        self._pause = pause
        self._rows: deque[int] = deque(maxlen=300)  # few enough that writers meet

    async def run(self, number: int) -> None:
        """One writer, until `stopping`; whatever happens to its connection, it makes another."""
        rng = random.Random(f"{self._seed} writer {number}")
        while not self.stopping:
            try:
                connection = await asyncpg.connect(self._url, timeout=5, command_timeout=10, server_settings=SETTINGS)
                try:
                    while not self.stopping:
                        await self._transaction(connection, rng, f"writer {number}")
                        await asyncio.sleep(rng.uniform(0, self._pause * 2))
                finally:
                    connection.terminate()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
                self.counts["connections lost"] += 1
                await asyncio.sleep(rng.uniform(0.02, 0.2))

    async def _transaction(self, connection: asyncpg.Connection, rng: random.Random, name: str) -> None:
        try:
            async with connection.transaction(isolation=rng.choice(ISOLATION)):
                for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
                    await self._step(connection, rng, name)
                    if rng.random() < 0.3:
                        await asyncio.sleep(rng.uniform(0, 0.03))
                if rng.random() < ABORTED:
                    raise Abort
            self.counts["committed"] += 1
        except Abort:
            self.counts["aborted"] += 1
        except (asyncpg.TransactionRollbackError, asyncpg.QueryCanceledError):
            self.counts["refused"] += 1  # a serialization failure or a deadlock

    async def _step(self, connection: asyncpg.Connection, rng: random.Random, name: str) -> None:
        if rng.random() < 0.2:
            try:
                async with connection.transaction():  # a savepoint
                    await self._change(connection, rng, name)
                    if rng.random() < ROLLED_BACK:
                        raise Abort
            except Abort:
                self.counts["savepoints rolled back"] += 1
        else:
            await self._change(connection, rng, name)

    async def _change(self, connection: asyncpg.Connection, rng: random.Random, name: str) -> None:
        topic, body = rng.choice(TOPICS), f"{name} {rng.getrandbits(48):012x} {'x' * rng.randrange(90)}"
        dice = rng.random()
        if dice < 0.55 or not self._rows:
            count = rng.choice((1, 1, 1, 1, 2, 8))
            rows = await connection.fetch(INSERT + " returning rowid", topic, name, body, count)
            self._rows.extend(row["rowid"] for row in rows)
            return
        # A crash takes back rowids that no commit used: one of these may be a client's note by now.
        rowids = sorted(rng.sample(self._rows, min(len(self._rows), rng.choice((1, 1, 1, 4)))))
        if dice < 0.8:
            await connection.execute(
                "update note set body = $2 where rowid = any($1) and username not like 'client %'", rowids, body
            )
        elif dice < 0.9:
            await connection.execute(
                "update note set topic = $2 where rowid = any($1) and username not like 'client %'", rowids, topic
            )
        else:
            await connection.execute("delete from note where rowid = any($1) and username not like 'client %'", rowids)
