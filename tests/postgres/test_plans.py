"""What reads of the store cost on a large table in which one topic has nearly all notes and another has none."""

import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from hub.postgres.store import Store

NOTES = 30_000
LARGE, SMALL, EMPTY = "large", "small", "empty"
READS: dict[str, Callable[[Store], Awaitable[Any]]] = {
    f"{name} of {topic}": read
    for topic in (LARGE, SMALL, EMPTY, "*")
    for topics in [None if topic == "*" else [topic]]
    for name, read in {
        "newest": lambda store, topics=topics: store.notes(topics, 50),
        "before": lambda store, topics=topics: store.notes(topics, 50, before=NOTES // 2),
        "changed": lambda store, topics=topics: store.notes(topics, 50, after=0),
        "changed late": lambda store, topics=topics: store.notes(topics, 50, after=NOTES - 20),
        "events": lambda store, topics=topics: store.events(0, None, topics, 50),
        "events to the head": lambda store, topics=topics: store.events(0, NOTES, topics, 50),
        "range": lambda store, topics=topics: store.events(9, 20, topics, 50),
    }.items()
}


class Explanation(Exception):
    """Takes the place of an answer."""


class Explained(Store):
    """A store that explains its statements with one connection, and counts the rows that they read."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        super().__init__("postgresql://nowhere", 1)
        self.connection = connection
        self.read = 0

    async def fetch(self, sql: str, *args: object) -> Any:
        texts = [await self.connection.fetchval("select quote_nullable($1::text)", _literal(arg)) for arg in args]
        await self.connection.execute(f"prepare explained as {sql}")
        try:
            plan = await self.connection.fetchval(
                f"explain (analyze, format json) execute explained({', '.join(texts)})"
            )
        finally:
            await self.connection.execute("deallocate explained")
        self.read += _rows(json.loads(plan)[0]["Plan"])
        raise Explanation


def _literal(arg: object) -> str | None:
    return "{" + ",".join(arg) + "}" if isinstance(arg, list) else None if arg is None else str(arg)


def _rows(node: dict[str, Any]) -> int:
    """The rows that a node of a plan and all below it touched."""
    names = [name for name in node if name == "Actual Rows" or name.startswith("Rows Removed by")]
    touched = sum(node[name] for name in names)
    return int(touched * node["Actual Loops"]) + sum(map(_rows, node.get("Plans", ())))


@pytest.mark.parametrize("is_analyzed", [False, True])
async def test_a_page_reads_little(database: asyncpg.Connection, is_analyzed: bool) -> None:
    """Every page reads a bounded number of rows, whatever the topic, and whether it is planned for it or for all."""
    await database.execute(
        f"""
        alter table note disable trigger user;
        insert into note (rowid, topic, username, body)
            select n, case when n % 33 = 0 then '{SMALL}' || n % 7 else '{LARGE}' end, 'gb', 'x'
            from generate_series(1, {NOTES}) n;
        insert into note_event (seq, op, rowid, topic) select rowid, 'insert', rowid, topic from note;
        """
    )
    if is_analyzed:
        await database.execute("vacuum analyze note")
        await database.execute("vacuum analyze note_event")
    read = {}
    for mode in ("force_custom_plan", "force_generic_plan"):
        await database.execute(f"set plan_cache_mode = {mode}")
        for name, question in READS.items():
            store = Explained(database)
            with contextlib.suppress(Explanation):
                await question(store)
            read[mode, name] = store.read
    assert all(read.values()) and {name: rows for name, rows in read.items() if rows > 1000} == {}
