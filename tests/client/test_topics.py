"""Topics that come and go while a client's connection does: races that the fault suite found."""

import asyncpg

from hub.client.state import Client
from hub.protocol import Ack, CaughtUp, Limits, Note, Reset, Subscribe, Unsubscribe, Welcome
from hub.protocol.codec import encode
from tests.client.test_state import note, sent, tell
from tests.conftest import connect


def welcome(*topics: str) -> Welcome:
    return Welcome("notes.v1", "test", 170, list(topics), Limits(65536, 140, 128, 1000, 25.0))


def seqs(events: list[object]) -> list[int]:
    return [event.seq for event in events if isinstance(event, Note)]


def test_reset_while_a_topic_is_behind() -> None:
    """After a reset, a topic that is still on its way to the cursor is taken up from the reset on."""
    client = Client(["lobby"], after=100)
    tell(client, welcome("lobby"))
    client.subscribe("ops", after=5)
    client.closed(1006)
    tell(
        client, welcome("lobby"), Reset(150, "all notes were removed"), note(160), CaughtUp(170), Ack("subscribe 2", 5)
    )
    assert seqs(tell(client, note(140, "ops"), note(155, "ops"))) == [155]


def test_topic_reset_while_it_is_behind() -> None:
    """A reset of one topic moves that topic alone, and what follows in it is new."""
    client = Client(["lobby"], after=100)
    tell(client, welcome("lobby"), CaughtUp(170))
    client.subscribe("ops", after=5)
    tell(client, Ack("subscribe 1", 5), Reset(150, "all notes were removed", "ops"))
    assert client.cursor == 170
    assert seqs(tell(client, note(155, "ops"), note(160), note(171))) == [155, 171]


def test_topic_reset_from_before_the_cursor() -> None:
    """A reset that a hub tells again, asked from before it, takes the topic back there: what follows is new again."""
    client = Client(["lobby", "ops"], after=160)
    tell(client, welcome("lobby", "ops"), Reset(100, "all notes were removed", "ops"))
    assert seqs(tell(client, note(110, "ops"), note(120), note(155, "ops"))) == [110, 155]
    assert client.cursor == 160 and "topic=ops" not in client.path()
    assert seqs(tell(client, note(165), CaughtUp(170), note(165, "ops"), note(171, "ops"))) == [165, 171]
    assert "topic=ops" in client.path()


def test_reset_of_a_topic_that_was_left() -> None:
    """It does not bring the topic back."""
    client = Client(["lobby", "ops"], after=160)
    tell(client, welcome("lobby", "ops"))
    client.unsubscribe("ops")
    sent(client)
    tell(client, Reset(100, "all notes were removed", "ops"))
    client.closed(1006)
    tell(client, welcome("lobby"))
    assert sent(client) == []


def test_unsubscribed_and_subscribed_again_while_behind() -> None:
    """A `caught_up` of an earlier subscription says nothing on the new one."""
    client = Client(["lobby"], after=100)
    tell(client, welcome("lobby"), CaughtUp(170))
    client.subscribe("ops", after=5)
    tell(client, Ack("subscribe 1", 5))
    client.unsubscribe("ops")
    client.subscribe("ops", after=7)
    assert seqs(tell(client, CaughtUp(170), Ack(), Ack("subscribe 2", 7), note(9, "ops"))) == [9]


def test_late_event_of_an_earlier_subscription() -> None:
    """An event that was on its way when its topic was asked for again does not hide the older ones."""
    client = Client(["lobby", "ops"], after=100)
    tell(client, welcome("lobby", "ops"), CaughtUp(170))
    client.unsubscribe("ops")
    client.subscribe("ops", after=7)
    late = tell(client, note(171, "ops"), Ack(), Ack("subscribe 1", 7), note(9, "ops"), note(171, "ops"))
    assert seqs(late) == [9, 171]


def test_topics_changed_between_connecting_and_the_welcome() -> None:
    """What the address did not say yet, or should not have said, is made good after the welcome."""
    client = Client(["lobby", "ops"], after=100)
    client.path()
    client.subscribe("news")
    client.unsubscribe("ops")
    tell(client, welcome("lobby", "ops"))
    assert sent(client) == [Subscribe("news", 100, "subscribe 1"), Unsubscribe("ops")]


def test_caught_up_with_a_hub_that_is_behind() -> None:
    """What a hub that has heard less than the last one sends of a topic later on is new, cursor or not."""
    client = Client(["lobby"], after=100)
    tell(client, welcome("lobby"))
    client.unsubscribe("lobby")
    client.subscribe("ops", after=7)
    tell(client, Ack(), Ack("subscribe 1", 7), note(9, "ops"), CaughtUp(50))
    assert client.live
    assert seqs(tell(client, note(50, "ops"), note(60, "ops"), note(101, "ops"))) == [60, 101]


async def test_truncate_in_the_past_of_one_topic(start_hub, database: asyncpg.Connection) -> None:
    """Who follows a topic from before a TRUNCATE is told to forget that topic, and keeps the others."""
    sql = "insert into note (topic, username, body) values ($1, 'gb', $2)"
    async with start_hub() as (_, address), connect(address, "/ws?topic=a&topic=b") as client:
        before = (await client.until(Welcome)).seq
        await database.execute(sql, "b", "gone")
        await database.execute("truncate note")
        await database.execute(sql, "b", "kept")
        await database.execute(sql, "a", "mine")
        async with connect(address, "/ws?topic=a&after=0") as late:
            await late.until(CaughtUp)
            await late.send(encode(Subscribe("b", before)).decode())
            reset = await late.until(Reset)
            assert reset.topic == "b"
            assert (await late.until(Note)).body == "kept"
