"""What the hub needs of the columns of table `note`, which may be older than the hub.

Owns the list of needs, and the statement that mends each column that does not meet them. It only reads.
"""

from typing import NamedTuple

import asyncpg

TEXT = ("text", "varchar")  # of any length
TIME = ("timestamptz",)
NUMBER = ("int4", "int8")


class Need(NamedTuple):
    """What one column must be. `fill` is what a row gets that has NULL in it; None where NULL means something."""

    types: tuple[str, ...]
    fill: str | None
    default: str | None = None  # of a column that the hub leaves out when it inserts
    added: bool = False  # the migrations add it where it is missing


NEEDS = {
    "rowid": Need(NUMBER, "nextval(pg_get_serial_sequence('note', 'rowid'))"),
    "created_timestamp": Need(TIME, "now()", "now()"),
    "updated_timestamp": Need(TIME, "now()", "now()"),
    "username": Need(TEXT, "''"),
    "body": Need(TEXT, "''"),
    "topic": Need(TEXT, "'lobby'", "'lobby'", added=True),
    "author": Need(TEXT, None, added=True),
    "key": Need(TEXT, None, added=True),
}

_COLUMNS = """
    select a.attname as name, coalesce(base.typname, own.typname) as type, a.attnotnull as not_null,
           a.atthasdef or a.attidentity <> '' as has_default,
           pg_get_serial_sequence('public.note', a.attname) is not null as has_sequence,
           exists (select from pg_index i where i.indrelid = a.attrelid and i.indisunique and i.indpred is null
                   and i.indnkeyatts = 1 and i.indkey[0] = a.attnum) as is_unique
    from pg_attribute a
    join pg_type own on own.oid = a.atttypid
    left join pg_type base on base.oid = own.typbasetype
    where a.attrelid = to_regclass('public.note') and a.attnum > 0 and not a.attisdropped
"""


async def unfit(connection: asyncpg.Connection) -> list[str]:
    """What is wrong with the columns of `note`, a sentence each with the statement that mends it; [] if there is none.

    Before the first migration the table may be missing, and so may the columns that come with it.
    """
    columns = {row["name"]: row for row in await connection.fetch(_COLUMNS)}
    is_migrated = await connection.fetchval("select to_regclass('public.note_event') is not null")
    if not columns:
        return ["The table note is missing: restore it from a backup."] if is_migrated else []
    found: list[str] = []
    for name, need in NEEDS.items():
        if name in columns:
            found += [f"note.{name} {fault}" for fault in _faults(name, need, columns[name])]
        elif is_migrated or not need.added:
            found.append(f"note.{name} is missing. Run: {_addition(name, need)}")
    return found


def _faults(name: str, need: Need, column: asyncpg.Record) -> list[str]:
    change = f"alter table note alter column {name}"
    found: list[str] = []
    has_default = column["has_default"]
    if column["type"] not in need.types:
        wanted = "bigint" if need.types is NUMBER else need.types[0]
        mend = f"{change} type {wanted} using {name}::{wanted};"
        if has_default and need.types is not TEXT:  # nothing but a text takes over the default of any other type
            mend, has_default = f"{change} drop default; {mend}", False
        found.append(f"is {column['type']}, not {wanted}. Run: {mend}")
    if name == "rowid" and not column["has_sequence"]:
        found.append(
            "has no sequence of its own. Run: create sequence note_rowid_seq owned by note.rowid;"
            " select setval('note_rowid_seq', max(rowid)) from note;"
            f" {change} set default nextval('note_rowid_seq');"
        )
    if name == "rowid" and not column["is_unique"]:
        found.append("is not unique. Run: alter table note add unique (rowid);")
    if need.fill is not None and not column["not_null"]:
        found.append(
            f"may be NULL. Run: update note set {name} = {need.fill} where {name} is null; {change} set not null;"
        )
    if need.fill is None and column["not_null"] and not column["has_default"]:
        found.append(f"may not be NULL. Run: {change} drop not null;")
    if need.default and not has_default:
        found.append(f"has no default. Run: {change} set default {need.default};")
    return found


def _addition(name: str, need: Need) -> str:
    if name == "rowid":
        return "alter table note add column rowid bigserial primary key;"
    rest = f" not null default {need.fill}" if need.fill else ""
    return f"alter table note add column {name} {need.types[0]}{rest};"
