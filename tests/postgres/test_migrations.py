"""The schema's way into a database: a new one, a used one, the original's."""

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from hub.errors import MigrationError
from hub.postgres import migrations
from hub.postgres.migrations import applied, files, migrate

VERSIONS = [version for version, _ in files()]

ORIGINAL = """
    CREATE TABLE IF NOT EXISTS note (
        rowid serial NOT NULL PRIMARY KEY,
        created_timestamp timestamptz NOT NULL DEFAULT NOW(),
        updated_timestamp timestamptz NOT NULL DEFAULT NOW(),
        username varchar(140) NOT NULL,
        body varchar(140) NOT NULL
    );
    CREATE OR REPLACE FUNCTION notify_on_insert ()
        RETURNS TRIGGER
        AS $$
    BEGIN
        PERFORM
            pg_notify('channel_note', CAST(row_to_json(NEW) AS text));
        RETURN NULL;
    END;
    $$
    LANGUAGE plpgsql;
    CREATE TRIGGER notify_on_message_insert
        AFTER INSERT ON note
        FOR EACH ROW
        EXECUTE PROCEDURE notify_on_insert ();
    INSERT INTO note(username, body) VALUES ('gb', 'hello world'), ('gb', 'hello there'), ('gb', 'bye');
    DELETE FROM note WHERE rowid = 2;
"""


def test_files() -> None:
    """The files are numbered from one without a gap."""
    assert list(range(1, len(VERSIONS) + 1)) == VERSIONS and VERSIONS


async def test_once(empty_url: str) -> None:
    """A first run applies all, a second nothing."""
    database = await asyncpg.connect(empty_url)
    assert await applied(database) == set()
    assert await migrate(database) == VERSIONS and await applied(database) == set(VERSIONS)
    assert await migrate(database) == []
    await database.close()


async def test_together(empty_url: str) -> None:
    """Of several hubs that start together one applies each file, and all find it applied."""
    connections = [await asyncpg.connect(empty_url) for _ in range(4)]
    results = await asyncio.gather(*map(migrate, connections))
    assert sorted(results) == [[], [], [], VERSIONS]
    assert await connections[0].fetchval("select count(*) from pg_locks where locktype = 'advisory'") == 0
    for connection in connections:
        await connection.close()


async def test_a_file_that_fails(empty_url: str, tmp_path: Path) -> None:
    """A failed file leaves no trace, keeps what came before, and is named; mended, it goes on from there."""
    (tmp_path / "0001_good.sql").write_text("create table a ()")
    (tmp_path / "0002_bad.sql").write_text("create table b (); create nonsense;")
    (tmp_path / "readme.sql").write_text("nonsense")
    database = await asyncpg.connect(empty_url)
    with pytest.raises(MigrationError, match=r"0002_bad\.sql.*nonsense"):
        await migrate(database, tmp_path)
    assert await applied(database) == {1}
    assert await database.fetchval("select to_regclass('b')") is None
    assert await database.fetchval("select count(*) from pg_locks where locktype = 'advisory'") == 0
    (tmp_path / "0002_bad.sql").write_text("create table b ()")
    assert await migrate(database, tmp_path) == [2]
    await database.close()


async def adopts_the_original(url: str) -> None:
    """The original's table keeps its rows, gets its log, and announces each row once."""
    database = await asyncpg.connect(url)
    await database.execute(ORIGINAL)
    before = [tuple(row) for row in await database.fetch("select * from note order by rowid")]
    assert await migrate(database) == VERSIONS
    rows = await database.fetch(
        "select rowid, created_timestamp, updated_timestamp, username, body from note order by rowid"
    )
    assert [tuple(row) for row in rows] == before and len(rows) == 2
    events = await database.fetch("select seq, op, rowid, topic from note_event order by seq")
    assert [tuple(row)[1:] for row in events] == [("insert", 1, "lobby"), ("insert", 3, "lobby")]
    heard: asyncio.Queue[str] = asyncio.Queue()
    await database.add_listener("channel_note", lambda *arguments: heard.put_nowait(arguments[3]))
    for body in ("one", "two"):
        await database.execute("insert into note(username, body) values ('gb', $1)", body)
    async with asyncio.timeout(5):
        payloads = [json.loads(await heard.get()) for _ in range(2)]
    assert [(payload["rowid"], payload["body"]) for payload in payloads] == [(4, "one"), (5, "two")]
    assert payloads[0]["prev"] == events[-1]["seq"]
    await database.close()


async def test_the_original_table(empty_url: str) -> None:
    """The original's table keeps its rows, gets its log, and announces each row once."""
    await adopts_the_original(empty_url)


async def test_a_waiting_writer(empty_url: str) -> None:
    """A row that somebody commits while the schema is being applied is in the log, too."""
    database, writer = await asyncpg.connect(empty_url), await asyncpg.connect(empty_url)
    await database.execute(ORIGINAL)
    transaction = writer.transaction()
    await transaction.start()
    await writer.execute("insert into note(username, body) values ('gb', 'meanwhile')")
    work = asyncio.create_task(migrate(database))
    async with asyncio.timeout(5):
        while not await writer.fetchval("select exists (select from pg_locks where not granted)"):
            await asyncio.sleep(0)
    await transaction.commit()
    assert await work == VERSIONS
    missing = await database.fetchval("select count(*) from note where rowid not in (select rowid from note_event)")
    assert missing == 0
    await database.close()
    await writer.close()


OLD = Path("/usr/lib/postgresql/15/bin")


@pytest.fixture
def old_postgres(tmp_path: Path) -> Iterator[str]:
    """The URL of a database on the system's Postgres 15, if there is one."""
    if not (OLD / "initdb").exists():
        pytest.skip(f"there is no Postgres 15 in {OLD}")
    user = {}
    if os.getuid() == 0:
        user = {"user": "nobody", "group": "nogroup", "extra_groups": []}
        for folder in (tmp_path, *tmp_path.parents):
            if folder.stat().st_uid == 0 and folder.name.startswith(("pytest-", "popen-")):
                folder.chmod(0o755)
        os.chown(tmp_path, *nobody())
    quiet = {"cwd": tmp_path, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **user}
    subprocess.run([OLD / "initdb", "-D", "d", "-U", "postgres", "--locale=C", "-E", "UTF8", "-N"], check=True, **quiet)
    command = [OLD / "pg_ctl", "-D", "d", "-w", "-o", f"-k {tmp_path} -F -c listen_addresses="]
    subprocess.run([*command, "start"], check=True, **quiet)
    try:
        yield f"postgresql://postgres@/postgres?host={tmp_path}&port=5432"
    finally:
        subprocess.run([*command, "-m", "immediate", "stop"], check=True, **quiet)


def nobody() -> tuple[int, int]:
    import grp
    import pwd

    return pwd.getpwnam("nobody").pw_uid, grp.getgrnam("nogroup").gr_gid


async def test_postgres_15(old_postgres: str) -> None:
    """On Postgres 15 all of this is the same, and a batch of notes has its places."""
    await adopts_the_original(old_postgres)
    database = await asyncpg.connect(old_postgres)
    assert (await database.fetchval("show server_version_num")).startswith("15")
    drafts = [{"topic": "a", "username": "x", "body": body, "key": "k"} for body in "12"]
    rows = await database.fetch("select * from note_publish($1)", json.dumps(drafts))
    assert [row["rowid"] for row in rows] == [6, 6] and rows[0]["seq"] == rows[1]["seq"]
    await database.execute("update note set body = 'z', topic = 'q' where rowid = 1")
    await database.execute("truncate note")
    ops = [row["op"] for row in await database.fetch("select op from note_event order by seq desc limit 3")]
    assert ops == ["truncate", "insert", "delete"]
    await database.close()


def test_the_lock_is_its_own() -> None:
    """Migrations and the log's trigger lock different numbers, so that neither waits for the other."""
    assert str(migrations.LOCK) not in "".join(path.read_text() for _, path in files())
