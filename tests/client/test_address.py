"""The address that a client connects to has a bound, whatever the number of its topics."""

import asyncio
import contextlib

import asyncpg

import hub
from hub.client.state import MAX_PATH, Client
from hub.protocol import MAX_LENGTH, Ack, CaughtUp, Error, Limits, Note, Subscribe, Welcome
from tests.client.test_state import note, query, sent, tell
from tests.programs import free_port

TOPICS = [f"{number:03} grüße 日本 {'ä%&+ ' * 12}"[:73] for number in range(128)]


WELCOME = Welcome("notes.v1", "test", 170, ["a"], Limits(65536, 140, 128, 1000, 25.0))


def test_bound() -> None:
    """Even topics of four bytes a character, each of them percent-encoded, leave most of a request line free."""
    longest = [chr(0x1F600 + number) * MAX_LENGTH for number in range(128)]
    client = Client(longest, after=2**53 - 1, last=1000)
    assert len(client.path()) <= MAX_PATH
    assert query(client) == {"topic": longest[:2], "after": [str(2**53 - 1)], "last": ["1000"]}


def test_order_of_the_user() -> None:
    """The address names topics as the user did."""
    assert query(Client(["news", "alerts", "news"])) == {"topic": ["news", "alerts"]}
    assert query(Client([*TOPICS, "*"])) == {"topic": ["*"]}


def test_rest_begins_where_the_welcome_is() -> None:
    """Without a cursor, topics that did not fit begin at the welcome's position, and are waited for."""
    client = Client(["a", "b"])
    assert tell(client, WELCOME) == []
    assert sent(client) == [Subscribe("b", 170, "subscribe 1")] and not client.live
    assert tell(client, note(180, "a"), Ack("subscribe 1", 170)) == [note(180, "a")]
    assert client.cursor == 180 and client.resume_after == 170
    assert tell(client, note(175, "b"), CaughtUp(180)) == [note(175, "b"), CaughtUp(180)] and client.live
    assert client.resume_after == 180


def test_rest_is_refused() -> None:
    """A client is live although the hub has refused the last topic that it waited for."""
    client = Client(["a", "b"])
    tell(client, WELCOME)
    refused = Error("too_many_topics", "At most 1.", "", id="subscribe 1")
    assert tell(client, refused) == [refused, CaughtUp(170)] and client.live


async def test_as_many_topics_as_are_allowed(start_hub, database: asyncpg.Connection) -> None:
    """A client follows 128 long topics, at first and after a reconnect, and gets each note once."""

    async def write(word: str) -> None:
        rows = [(topic, f"{word} {topic[:3]}") for topic in TOPICS]
        await database.executemany("insert into note (topic, username, body) values ($1, 'gb', $2)", rows)

    async def follow(count: int) -> list[str]:
        """The notes up to the next CaughtUp, or so many."""
        bodies: list[str] = []
        async for event in notes:
            if isinstance(event, Note):
                bodies.append(event.body)
            if len(bodies) == count or (not count and isinstance(event, CaughtUp)):
                return bodies
        raise AssertionError("the iterator ended")

    def all_of(*words: str) -> list[str]:
        return sorted(f"{word} {topic[:3]}" for word in words for topic in TOPICS)

    async with asyncio.timeout(20), contextlib.AsyncExitStack() as hubs:
        _, address = await hubs.enter_async_context(start_hub(port=free_port()))
        async with hub.connect(address, TOPICS) as notes:
            assert await follow(0) == []
            await write("first")
            assert await follow(128) == [f"first {topic[:3]}" for topic in TOPICS]
            await hubs.aclose()
            await write("meanwhile")
            await hubs.enter_async_context(start_hub(port=int(address.rpartition(":")[2])))
            await write("later")
            assert sorted(await follow(256)) == all_of("meanwhile", "later")
            await write("last")
            assert await follow(128) == [f"last {topic[:3]}" for topic in TOPICS]
