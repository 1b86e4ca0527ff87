"""Through the real pgbouncer with its default settings: session mode works, transaction mode is refused in one line."""

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from hub.postgres.pool import connect
from hub.protocol import Note, Publish
from tests import conftest
from tests.programs import DEADLINE, free_port, output
from tests.proxy import proxied

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
HUB = (sys.executable, "-m", "hub")

pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed")


@contextlib.asynccontextmanager
async def pooler(folder: Path, url: str, mode: str) -> AsyncIterator[str]:
    """The URL of a database through a pgbouncer of its own."""
    port, name = free_port(), conftest.name_of(url)
    async with proxied(url) as proxy:  # the database's own socket is closed to the user as whom pgbouncer runs
        (folder / "pgbouncer.ini").write_text(
            f"[databases]\n{name} = host=127.0.0.1 port={proxy.port} user=postgres\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = any\npool_mode = {mode}\n"
        )
        process = await asyncio.create_subprocess_exec(
            str(PGBOUNCER), *(["-u", "nobody"] if os.geteuid() == 0 else []), "pgbouncer.ini",
            cwd=folder, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stderr
        try:
            async with asyncio.timeout(DEADLINE):
                while b"process up" not in (line := await process.stderr.readline()):
                    assert line, "pgbouncer did not start"
            yield f"postgresql://postgres@127.0.0.1:{port}/{name}"
        finally:
            process.kill()
            await process.communicate()


async def test_session_mode(tmp_path: Path, url: str, start_hub, database: asyncpg.Connection) -> None:
    """A hub works through a pooler in session mode, and check finds nothing wrong with it."""
    await database.execute(f"alter database {conftest.name_of(url)} set synchronous_commit = on")
    async with pooler(tmp_path, url, "session") as pooled:
        async with start_hub(pooled) as (_, address), conftest.connect(address) as client:
            await client.send(Publish("gb", "through the pooler"))
            assert (await client.until(Note)).body == "through the pooler"
        assert "LISTEN delivers" in await output(*HUB, "check", DATABASE_URL=pooled)


async def test_transaction_mode(tmp_path: Path, url: str) -> None:
    """A hub on a pooler in transaction mode ends soon, with one line that says what to do; check says the same."""
    async with pooler(tmp_path, url, "transaction") as pooled:
        for command in (("serve", "--port", "0"), ("serve", "--port", "0", "--workers", "2"), ("check",)):
            printed = await output(*HUB, *command, status=1, DATABASE_URL=pooled)
            said = [line for line in printed.splitlines() if not line.startswith(("{", "ok "))]
            assert len(said) == 1 and "transaction mode" in said[0] and "session mode" in said[0], printed


async def test_the_session(url: str, database: asyncpg.Connection) -> None:
    """Whatever the database's own settings are, a connection of the hub sees the schema public, read committed."""
    name = conftest.name_of(url)
    await database.execute(f"alter database {name} set search_path = nowhere")
    await database.execute(f"alter database {name} set default_transaction_isolation = serializable")
    connection = await connect(url)
    try:
        assert await connection.fetchval("show search_path") == "public"
        assert await connection.fetchval("show transaction_isolation") == "read committed"
    finally:
        await connection.close()
