"""What must be true in the end: each client's record against the log and the table.

Owns the comparison and the words for what differs. It reads the database once, when all is quiet.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import asyncpg

from hub.protocol import ALL
from tests.faults.clients import Driver
from tests.faults.record import Period, Seen

KINDS = {"insert": "note", "update": "note", "delete": "deleted", "truncate": "reset"}
MAX_FINDINGS = 5  # of a kind for each period: the first ones tell the story


class Finding(NamedTuple):
    """Something that is not as it should be; `kind` is one word."""

    kind: str
    client: str
    text: str


class Entry(NamedTuple):
    """An entry of the log."""

    seq: int
    op: str
    rowid: int | None
    topic: str | None

    def concerns(self, topic: str) -> bool:
        """Whether a follower of a topic is told of it."""
        return topic in (ALL, self.topic) or self.topic is None


class Truth:
    """The log and the table, as the database has them."""

    def __init__(self, log: Iterable[Entry], rows: Iterable[tuple[int, str, str, str]]) -> None:
        self.log = list(log)
        self.rows = {rowid: (topic, username, body) for rowid, topic, username, body in rows}
        self.changed: dict[int, int] = {}  # rowid → seq of its last event
        self.gone: dict[tuple[int, str], int] = {}  # rowid and topic → seq at which it was last deleted or moved away
        self.truncated = [entry.seq for entry in self.log if entry.op == "truncate"]
        self.bodies = Counter(row[2] for row in self.rows.values())
        self.inserts = {(entry.rowid, entry.seq) for entry in self.log if entry.op == "insert"}
        for entry in self.log:
            if entry.rowid is not None:
                self.changed[entry.rowid] = entry.seq
                if entry.op == "delete":
                    self.gone[entry.rowid, entry.topic or ""] = entry.seq

    @classmethod
    async def read(cls, database: asyncpg.Connection) -> "Truth":
        """Read both in one snapshot."""
        async with database.transaction(isolation="repeatable_read"):
            log = await database.fetch("select seq, op, rowid, topic from note_event order by seq")
            rows = await database.fetch("select rowid, topic, username, body from note")
        return cls((Entry(*row) for row in log), (tuple(row) for row in rows))

    def may_lack(self, entry: Entry) -> bool:
        """Whether a replay may pass an event over: a later one says that its row is not there any more."""
        if any(seq > entry.seq for seq in self.truncated[-1:]):
            return True
        later = self.gone.get((entry.rowid or 0, entry.topic or ""), 0)
        return entry.op in ("insert", "update") and later > entry.seq

    def state(self, topic: str, start: int) -> dict[int, tuple[str, str, str]]:
        """The rows of a topic that were changed after a seq."""
        return {
            rowid: row
            for rowid, row in self.rows.items()
            if topic in (ALL, row[0]) and self.changed.get(rowid, 0) > start
        }


def check(truth: Truth, driver: Driver) -> Iterator[Finding]:
    """What is wrong with one client's record."""
    for trouble in driver.troubles:
        yield Finding("trouble", driver.name, trouble)
    for number, period in enumerate(driver.periods):
        name = f"{driver.name}, topic {period.topic}, period {number} from {period.start}"
        counts = Counter[str]()
        for kind, text in check_period(truth, period):
            counts[kind] += 1
            if counts[kind] <= MAX_FINDINGS:
                yield Finding(kind, name, text)
        for kind, count in counts.items():
            if count > MAX_FINDINGS:
                yield Finding(kind, name, f"and {count - MAX_FINDINGS} more of this kind")
    yield from check_publishes(truth, driver)


def check_period(truth: Truth, period: Period) -> Iterator[tuple[str, str]]:
    """What is wrong with what was seen of one topic: order, duplicates, gaps, and the state that it leads to."""
    if period.start is None:
        return
    for each in period.seen:
        if each.kind == "reset" and each.seq not in truth.truncated:
            yield "reset", f"got {each}, and nothing was truncated then"
    parts = list(segments(period))
    for number, (start, seen) in enumerate(parts):
        yield from check_order(start, seen)
        yield from check_against_log(truth, period, start, seen, number == len(parts) - 1)
    if not period.closed:
        yield from check_state(truth, period, min(period.start, parts[-1][0]))


def segments(period: Period) -> Iterator[tuple[int, list[Seen]]]:
    """A reset that is told again, to a client that asked from before it, begins the record anew from there."""
    start, seen = period.start or 0, list[Seen]()
    for each in period.seen:
        if each.kind == "reset" and each.seq <= (seen[-1].seq if seen else start):
            yield start, seen
            start, seen = each.seq, []
        else:
            seen.append(each)
    yield start, seen


def check_order(start: int, seen: list[Seen]) -> Iterator[tuple[str, str]]:
    """The seqs rise, and none comes twice."""
    last, known = start, set[int]()
    for each in seen:
        if each.seq in known:
            yield "twice", f"got {each} again after seq {last}"
        elif each.seq <= last:
            yield "order", f"got {each} after seq {last}"
        known.add(each.seq)
        last = max(last, each.seq)


def check_against_log(
    truth: Truth, period: Period, start: int, seen: list[Seen], newest: bool
) -> Iterator[tuple[str, str]]:
    """Everything seen is in the log, and everything in the log was seen, save what may be passed over."""
    first = bisect_right(truth.log, start, key=lambda entry: entry.seq)
    expected = {entry.seq: entry for entry in truth.log[first:] if entry.concerns(period.topic)}
    for each in seen:
        entry = expected.get(each.seq)
        if entry is None or (KINDS[entry.op], entry.rowid) != (each.kind, each.rowid):
            yield "unknown", f"got {each}, the log has {entry}"
    # A client that has left the topic must have everything up to the last event that it saw.
    end = None if newest and not period.closed else max((each.seq for each in seen), default=start)
    got = {each.seq for each in seen}
    # A reset that is told again may lie before the topic was followed: nothing from before that is owed.
    owed = {seq: entry for seq, entry in expected.items() if seq > (period.start or 0) and (end is None or seq <= end)}
    for seq, entry in owed.items():
        if seq not in got and not truth.may_lack(entry):
            around = [each.seq for each in seen if abs(each.seq - seq) < 1_000_000]
            before = max((each for each in around if each < seq), default=None)
            after = min((each for each in around if each > seq), default=None)
            yield "missing", f"expected {entry}; it got {before} and then {after}"


def check_state(truth: Truth, period: Period, start: int) -> Iterator[tuple[str, str]]:
    """Applied in order, what was seen gives the rows of the table."""
    state: dict[int, tuple[str, str, str]] = {}
    for each in period.seen:
        if each.kind == "reset":
            state.clear()
        elif each.rowid is not None:
            state.pop(each.rowid, None)
            if each.row is not None:
                state[each.rowid] = each.row
    expected = truth.state(period.topic, start)
    for rowid in sorted(expected.keys() | state.keys()):
        if expected.get(rowid) != state.get(rowid):
            yield "state", f"row {rowid}: expected {expected.get(rowid)}, got {state.get(rowid)}"


def check_publishes(truth: Truth, driver: Driver) -> Iterator[Finding]:
    """Every acknowledged note is there once, every other at most once.

    A key lives as long as its note: after a TRUNCATE, a retry that was under way may add the note again.
    """
    for key, body in driver.tokens.items():
        copies, accepted = truth.bodies[body], driver.accepted.get(key)
        if copies > 1:
            yield Finding("published_twice", driver.name, f"{body!r} is in the table {copies} times")
        elif accepted is None:
            continue
        elif (accepted.rowid, accepted.seq) not in truth.inserts:
            yield Finding("lost", driver.name, f"{body!r} was acknowledged as {accepted}, which the log has not")
        elif any(seq > accepted.seq for seq in truth.truncated):
            continue
        elif truth.rows.get(accepted.rowid, ("", "", ""))[2] != body:
            found = truth.rows.get(accepted.rowid)
            yield Finding("lost", driver.name, f"{body!r} was acknowledged as {accepted}; that row is {found}")
