"""Migrations: they bring a database to the schema that this version of the hub needs.

Owns the numbered files in ``sql/`` and the table `hub_migration`, which records the files that ran. It only goes
forward, runs each file in a transaction of its own, and never touches rows beyond what a file says.
"""

import asyncio
from pathlib import Path

import asyncpg
import structlog

from hub.backoff import backoff
from hub.errors import MigrationError, Unavailable
from hub.postgres.columns import unfit
from hub.postgres.pool import connect, hub_errors
from hub.settings import SQL_DIR

log = structlog.get_logger()

# The key of an advisory lock. Any number will do that nothing else in the database locks. Hubs that start at the same
# time wait for each other here.
LOCK = 7274916301


def files(folder: Path = SQL_DIR) -> list[tuple[int, Path]]:
    """The numbered files as ``(version, path)``, in the order in which they are applied."""
    return sorted((int(path.name[:4]), path) for path in folder.glob("[0-9][0-9][0-9][0-9]_*.sql"))


async def applied(connection: asyncpg.Connection) -> set[int]:
    """The versions that the database has; empty if no migration ever ran."""
    if await connection.fetchval("select to_regclass('public.hub_migration')") is None:
        return set()
    return {row["version"] for row in await connection.fetch("select version from public.hub_migration")}


async def missing(connection: asyncpg.Connection) -> list[int]:
    """The versions that the database lacks, in order."""
    done = await applied(connection)
    return [version for version, _ in files() if version not in done]


async def migrate(connection: asyncpg.Connection, folder: Path = SQL_DIR) -> list[int]:
    """Apply the missing files and return their versions.

    Raises MigrationError for a file that fails, which it undoes, and for columns of `note` that do not fit.
    """
    await connection.execute("select pg_advisory_lock($1)", LOCK)
    try:
        return await _migrate(connection, folder)
    finally:
        if not connection.is_closed():
            await connection.execute("select pg_advisory_unlock($1)", LOCK)


async def wait_and_migrate(url: str) -> list[int]:
    """Wait until Postgres answers, however long that takes, then do as `migrate` does.

    Raises DatabaseError for what waiting does not mend, such as a wrong password, and MigrationError for a file that
    fails.
    """
    for delay in backoff():
        try:
            with hub_errors():
                connection = await connect(url)
                try:
                    return await migrate(connection)
                finally:
                    connection.terminate()
        except (Unavailable, OSError) as error:
            log.warning("waiting_for_database", reason=str(error) or type(error).__name__)
            await asyncio.sleep(delay)
    raise AssertionError("backoff never ends")


async def _migrate(connection: asyncpg.Connection, folder: Path) -> list[int]:
    if faults := await unfit(connection):
        raise MigrationError(" ".join(faults))
    done = await applied(connection)
    todo = [(version, path) for version, path in files(folder) if version not in done]
    for version, path in todo:
        try:
            async with connection.transaction():
                await connection.execute("set local search_path = public")
                await connection.execute(
                    "create table if not exists hub_migration"
                    " (version int primary key, applied_at timestamptz not null default now())"
                )
                await connection.execute(path.read_text())
                await connection.execute("insert into hub_migration (version) values ($1)", version)
        except asyncpg.PostgresError as error:
            raise MigrationError(f"{path.name} could not be applied: {error}") from error
        log.info("migrated", version=version, file=path.name)
    return [version for version, _ in todo]
