"""The client's memory: cursor, duplicates, catch-up, reset, outbox, back-off; no socket is needed."""

import itertools
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

from hypothesis import given
from hypothesis import strategies as st

from hub.backoff import backoff
from hub.client.events import Accepted, Interrupted, Rejected
from hub.client.state import FIRST_DELAY, LONGEST_DELAY, Client
from hub.protocol import (
    BAD_REQUEST,
    GOING_AWAY,
    Ack,
    CaughtUp,
    Deleted,
    Error,
    Limits,
    Note,
    Publish,
    Reset,
    Subscribe,
    Welcome,
)
from hub.protocol.codec import encode
from hub.server.commands import decode as decode_command

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = Error("unavailable", "The database can't be reached.", "Try again.", temporary=True)
NEVER = Error("refused", "No.", "Change it.")


def note(seq: int, topic: str = "lobby") -> Note:
    return Note(seq, seq, topic, "gb", f"note {seq}", NOW, NOW)


def welcome(seq: int) -> Welcome:
    return Welcome("notes.v1", "test", seq, ["lobby"], Limits(65536, 140, 128, 1000, 25.0))


def tell(client: Client, *messages: object) -> list[object]:
    """What the client makes of messages, in order."""
    return [event for message in messages for event in client.received(encode(message))]


def query(client: Client) -> dict[str, list[str]]:
    return parse_qs(urlsplit(client.path()).query, keep_blank_values=True)


def sent(client: Client) -> list[object]:
    return [decode_command(data) for data in client.to_send()]


def live_at(seq: int, **options: object) -> Client:
    """A client that is live."""
    client = Client(**options)  # type: ignore[arg-type]
    tell(client, welcome(seq))
    if not client.live:
        tell(client, CaughtUp(seq))
    return client


def test_begins_with_now() -> None:
    """Without a cursor it is live from the welcome's position on, and resumes there even if it never got a note."""
    client = Client()
    assert query(client) == {"topic": ["lobby"]}
    assert tell(client, welcome(7)) == [CaughtUp(7)]
    client.closed(1006)
    assert query(client) == {"topic": ["lobby"], "after": ["7"]}


def test_resumes_after_the_last_event() -> None:
    """A lost connection resumes after the newest event, and is live again only when it has caught up."""
    client = live_at(7)
    tell(client, note(8), Deleted(9, 8, "lobby"))
    assert isinstance(client.closed(GOING_AWAY), Interrupted) and not client.live
    assert query(client)["after"] == ["9"]
    assert tell(client, welcome(12), note(11)) == [note(11)] and not client.live
    assert tell(client, CaughtUp(12)) == [CaughtUp(12)] and client.live


@given(st.lists(st.integers(1, 30), max_size=80))
def test_never_twice(seqs: list[int]) -> None:
    """Whatever is sent again, a user sees each event once and in order."""
    client = live_at(0)
    seen = [event.seq for event in tell(client, *map(note, seqs)) if isinstance(event, Note)]
    assert seen == [
        seq for seq, before in zip(seqs, itertools.accumulate([0, *seqs], max), strict=False) if seq > before
    ]
    assert client.cursor == max([0, *seqs])


def test_snapshot_broken_off() -> None:
    """Notes of a snapshot come whatever their seq; broken off in its middle, it is asked for again."""
    client = Client(last=3)
    assert tell(client, welcome(9), note(5), note(2)) == [note(5), note(2)]
    client.closed(1006)
    assert query(client) == {"topic": ["lobby"], "last": ["3"]}
    assert tell(client, welcome(9), note(5), note(2), note(8), CaughtUp(9))[-1] == CaughtUp(9)
    assert tell(client, note(9)) == []


def test_reset_with_a_snapshot() -> None:
    """After a reset that brings a snapshot, old notes are taken; broken off, the next connection has no cursor."""
    client = Client(after=50, last=3)
    reset = Reset(9, "unknown cursor", snapshot=True)
    assert tell(client, welcome(9), reset, note(4)) == [reset, note(4)]
    client.closed(1006)
    assert "after" not in query(client)


def test_reset_without_a_snapshot() -> None:
    """A reset moves the cursor, back too; what follows it is new."""
    client = live_at(50)
    assert tell(client, Reset(9, "replaced"), note(10)) == [Reset(9, "replaced"), note(10)]
    assert client.cursor == 10


def test_topic_with_a_past() -> None:
    """A topic added with `after` catches up on its own; the others' duplicates are still dropped."""
    client = live_at(50)
    client.subscribe("ops", 10)
    [command] = sent(client)
    assert command == Subscribe("ops", 10, command.id)
    # A caught_up that was sent before the ack is about something else.
    tell(client, CaughtUp(50), Ack(command.id, 10))
    assert tell(client, note(20, "ops"), note(20, "ops"), note(40), note(30, "ops")) == [
        note(20, "ops"),
        note(30, "ops"),
    ]
    client.closed(1006)
    assert query(client) == {"topic": ["lobby"], "after": ["50"]}
    tell(client, welcome(60))
    [again] = sent(client)
    assert again == Subscribe("ops", 30, again.id)
    tell(client, Ack(again.id, 30), note(40, "ops"), CaughtUp(60))
    assert client.live and query(client) == {"topic": ["lobby", "ops"], "after": ["60"]}


def test_refused_subscription() -> None:
    """A topic that the hub refuses is forgotten, and the user told."""
    client = live_at(1)
    client.subscribe("ops")
    [command] = sent(client)
    refused = Error("too_many_topics", "At most 1.", "", id=command.id)
    assert tell(client, refused) == [refused] and client.topics == {"lobby"}


def test_outbox() -> None:
    """A note is sent once welcomed, and again on every connection until its ack: with the same key."""
    client = Client()
    key = client.publish("gb", "hello")
    assert sent(client) == []
    tell(client, welcome(1))
    first = sent(client)
    client.closed(1006)
    tell(client, welcome(1))
    assert sent(client) == first == [Publish("gb", "hello", "lobby", key, key)]
    assert tell(client, Ack(key, 5, 3)) == [Accepted(key, 5, 3)]
    client.closed(1006)
    tell(client, welcome(5))
    assert sent(client) == []


def test_temporary_refusal() -> None:
    """What could not be saved just now is sent again; what is refused for good is not."""
    client = live_at(1)
    later, never = client.publish("gb", "later"), client.publish("gb", "never")
    sent(client)
    assert tell(client, Error(LATER.code, "", "", True, later)) == [] and client.retrying
    [rejected] = tell(client, Error(NEVER.code, "", "", id=never))
    assert isinstance(rejected, Rejected) and rejected.key == never
    client.retry()
    assert [command.key for command in sent(client)] == [later] and not client.retrying


def test_close_codes() -> None:
    """A code that says so ends the attempts; any other has them go on after a delay."""
    client = Client()
    assert client.closed(BAD_REQUEST).delay is None
    assert client.closed(GOING_AWAY).delay is not None


def test_backoff() -> None:
    """The limit of the waits doubles from half a second to 5 seconds, and starts small again once live."""
    client = Client()
    assert all(client.closed(1006).delay <= limit for limit in (0.5, 1, 2, 4, 5, 5, 5))
    client = Client(delays=lambda: backoff(FIRST_DELAY, LONGEST_DELAY, lambda low, high: high))
    assert [client.closed(1006).delay for _ in range(7)] == [0.5, 1, 2, 4, 5, 5, 5]
    client = Client(delays=lambda: backoff(FIRST_DELAY, LONGEST_DELAY, lambda low, high: high))
    assert [client.closed(1006).delay for _ in range(3)] == [0.5, 1, 2]
    tell(client, welcome(1))
    assert client.closed(1006).delay == 0.5
