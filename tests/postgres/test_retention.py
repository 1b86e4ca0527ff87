"""What a cursor is worth when the log was trimmed, or is that of a restored backup."""

import sys

import asyncpg

from hub.embedded.files import binary
from hub.protocol import CaughtUp, Note, Reset, Welcome
from tests.conftest import _create, connect
from tests.programs import output, psql

INSERT = "insert into note (username, body) values ('gb', $1)"
PRUNE = ("-m", "hub", "prune", "--older-than", "0m")


async def fill(database: asyncpg.Connection, *bodies: str) -> list[int]:
    """Insert notes; their seqs."""
    for body in bodies:
        await database.execute(INSERT, body)
    return [row["seq"] for row in await database.fetch("select seq from note_event order by seq")]


async def test_prune(start_hub, url: str, database: asyncpg.Connection) -> None:
    """A prune keeps the notes; a cursor from before it gets a reset and a snapshot, one at the floor what follows."""
    first, _, floor = await fill(database, "a", "b", "c")
    printed = await output(sys.executable, *PRUNE, "--database-url", url)
    assert printed.startswith("3 events trimmed")
    await fill(database, "d")
    async with start_hub() as (_, address):
        async with connect(address, f"/ws?after={first}&last=10") as client:
            await client.until(Welcome)
            reset = await client.receive()
            assert isinstance(reset, Reset) and reset.snapshot
            notes = [await client.receive() for _ in range(4)]
            assert [note.body for note in notes] == ["a", "b", "c", "d"]
            assert [note.seq for note in notes[:3]] == [floor] * 3
            assert isinstance(await client.receive(), CaughtUp)
        async with connect(address, f"/ws?after={floor}") as client:
            await client.until(Welcome)
            assert (await client.receive()).body == "d"
        async with connect(address, "/ws?after=0") as client:
            await client.until(Welcome)
            assert isinstance(await client.receive(), Reset)


async def test_cursor_from_elsewhere(start_hub, database: asyncpg.Connection) -> None:
    """A cursor above the head, or between two events of this log, is of another database and gets a reset."""
    first, second = await fill(database, "a", "b")
    async with start_hub() as (_, address):
        for cursor in (second + 10**9, first + 1):
            async with connect(address, f"/ws?after={cursor}") as client:
                await client.until(Welcome)
                reset = await client.receive()
                assert isinstance(reset, Reset) and reset.seq == second and not reset.snapshot
                assert isinstance(await client.receive(), CaughtUp)


async def test_restored_backup(start_hub, server: str, url: str, database: asyncpg.Connection) -> None:
    """On a restored backup a client that knows more is reset, never left silent, and no seq is used a second time."""
    await fill(database, "in the backup")
    dump = await output(binary("pg_dump"), "--no-owner", "--dbname", url)
    lost = (await fill(database, "lost with the restore"))[-1]
    restored = await _create(server, "template0")
    await output(*psql(restored, "--quiet", "--set", "ON_ERROR_STOP=1"), stdin=dump)
    async with start_hub(restored) as (_, address), connect(address, f"/ws?after={lost}&last=5") as client:
        await client.until(Welcome)
        assert isinstance(await client.receive(), Reset)
        assert (await client.receive()).body == "in the backup"
        assert isinstance(await client.receive(), CaughtUp)
        connection = await asyncpg.connect(restored)
        await connection.execute(INSERT, "after the restore")
        await connection.close()
        note = await client.receive()
        assert isinstance(note, Note) and note.body == "after the restore" and note.seq > lost
