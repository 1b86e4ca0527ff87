"""The broadcaster: one encoding for all, one write per client and turn, a rest under load."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from hub.feed.broadcaster import Broadcaster
from hub.feed.events import Event
from hub.protocol import ALL, Deleted, Message, Reset, Status
from hub.protocol.formats import Format

MOMENT = datetime(2022, 5, 3, tzinfo=UTC)


class Turn:
    """The end of the loop's turn, when the test says so, and a clock that stands still until then."""

    def __init__(self) -> None:
        self.now = 100.0
        self.due: list[Callable[[], None]] = []
        self.resting: list[tuple[float, Callable[[], None]]] = []

    def schedule(self, work: Callable[[], None]) -> None:
        self.due.append(work)

    def later(self, seconds: float, work: Callable[[], None]) -> None:
        self.resting.append((seconds, work))

    def end(self) -> None:
        due, self.due = self.due, []
        for work in due:
            work()


class Counting:
    """A format that counts how often it encodes."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, message: Message, position: int | None = None) -> bytes:
        self.calls += 1
        return b"" if isinstance(message, Status) else b"%d;" % message.seq  # type: ignore[union-attr]


class FakeOutgoing:
    """Takes bytes; too slow after `room` writes."""

    file, high_water = None, 0

    def __init__(self, room: int) -> None:
        self.room = room
        self.fanout, self.at = None, -1
        self.writes: list[bytes] = []

    def take(self, data: bytes) -> int:
        self.writes.append(data)
        self.room -= 1
        return int(self.room <= 0)


class FakeSubscriber:
    """A subscriber whose client is slow after `room` writes."""

    def __init__(self, format: Format, *topics: str, room: int = 1000) -> None:
        self.format, self.topics, self.live = format, frozenset(topics), True
        self.outgoing = FakeOutgoing(room)
        self.writes = self.outgoing.writes
        self.behind: list[int] = []
        self.resets: list[tuple[int, str]] = []
        self.told: list[Message] = []

    def reset(self, seq: int, reason: str) -> None:
        self.resets.append((seq, reason))

    def tell(self, message: Message) -> None:
        self.told.append(message)

    def fell_behind(self, cursor: int) -> None:
        self.behind.append(cursor)


def deleted(seq: int, topic: str = "a") -> Event:
    return Event(seq, topic, Deleted(seq, seq, topic))


def made(ring_bytes: int = 1 << 20) -> tuple[Broadcaster, Turn]:
    turn = Turn()
    return Broadcaster(turn.schedule, turn.later, ring_bytes, lambda: turn.now), turn


def test_encodes_once() -> None:
    """An event is encoded once per format that anybody uses, however many subscribers and topic sets there are."""
    broadcaster, turn = made()
    json, text, unused = Counting(), Counting(), Counting()
    subscribers = [FakeSubscriber(format, *topics) for format in (json, text) for topics in ("a", "ab", ALL)] * 50
    for subscriber in subscribers:
        broadcaster.join(subscriber)
    for seq in range(1, 11):
        broadcaster.publish(deleted(seq))
    turn.end()
    assert (json.calls, text.calls, unused.calls) == (10, 10, 0)
    assert {b"".join(subscriber.writes) for subscriber in subscribers} == {b"1;2;3;4;5;6;7;8;9;10;"}


def test_one_write_per_turn() -> None:
    """The events of one turn are one write per client; the very same bytes for those of the same topics."""
    broadcaster, turn = made()
    format = Counting()
    one, two, other = (FakeSubscriber(format, topic) for topic in "aab")
    for subscriber in (one, two, other):
        broadcaster.join(subscriber)
    for seq in range(1, 6):
        broadcaster.publish(deleted(seq, "b" if seq == 3 else "a"))
    assert one.writes == [] and len(turn.due) == 1
    turn.end()
    assert one.writes == [b"1;2;4;5;"] and other.writes == [b"3;"] and one.writes[0] is two.writes[0]
    broadcaster.publish(deleted(6))
    turn.end()
    assert one.writes[1:] == [b"6;"] and len(other.writes) == 1 and broadcaster.flushes == 2


def test_topics() -> None:
    """A subscriber gets its topics' events in order, one of all topics everything, one of none what concerns all."""
    broadcaster, turn = made()
    format = Counting()
    a, ab, everything, nothing = subscribers = [
        FakeSubscriber(format, *topics) for topics in (["a"], ["a", "b"], [ALL], [])
    ]
    for subscriber in subscribers:
        broadcaster.join(subscriber)
    for seq, topic in enumerate("abcab", 1):
        broadcaster.publish(deleted(seq, topic))
    broadcaster.publish(Event(6, None, Reset(6, "x")))
    turn.end()
    assert [b"".join(s.writes) for s in (a, ab, everything, nothing)] == [
        b"1;4;6;",
        b"1;2;4;5;6;",
        b"1;2;3;4;5;6;",
        b"6;",
    ]


def test_a_topic_named_as_all_topics_are() -> None:
    """An event whose topic is `*`, which SQL may write, reaches who follows all topics once, and nobody else."""
    broadcaster, turn = made()
    everything, a = FakeSubscriber(Counting(), ALL), FakeSubscriber(Counting(), "a")
    for subscriber in (everything, a):
        broadcaster.join(subscriber)
    broadcaster.publish(deleted(1, ALL))
    turn.end()
    broadcaster.leave(everything)
    broadcaster.publish(deleted(2, ALL))
    turn.end()
    assert everything.writes == [b"1;"] and a.writes == []


def test_what_is_passed_over_is_not_written() -> None:
    """An event without a message, or one that a format leaves out, moves the head and writes nothing."""
    broadcaster, turn = made()
    subscriber = FakeSubscriber(Counting(), "a")
    broadcaster.join(subscriber)
    broadcaster.publish(Event(1, "a", None))
    turn.end()
    assert subscriber.writes == [] and broadcaster.head == 1


def test_join_and_leave_within_a_turn() -> None:
    """Who joins gets nothing of what was published before, who leaves nothing of what comes after."""
    broadcaster, turn = made()
    early, late = FakeSubscriber(Counting(), "a"), FakeSubscriber(Counting(), "a")
    broadcaster.join(early)
    broadcaster.publish(deleted(1))
    broadcaster.join(late)
    broadcaster.publish(deleted(2))
    broadcaster.flush()
    broadcaster.leave(early)
    broadcaster.publish(deleted(3))
    turn.end()
    assert b"".join(early.writes) == b"1;2;" and b"".join(late.writes) == b"2;3;"


def test_a_slow_client_leaves() -> None:
    """One whose buffer is full is taken out after the write, with its cursor; the others notice nothing."""
    broadcaster, turn = made()
    format = Counting()
    slow, quick = FakeSubscriber(format, "a", room=2), FakeSubscriber(format, "a")
    broadcaster.join(slow)
    broadcaster.join(quick)
    for seq in range(1, 6):
        broadcaster.publish(deleted(seq))
        turn.end()
    assert (slow.writes, slow.behind) == ([b"1;", b"2;"], [2]) and quick.behind == [] and len(quick.writes) == 5


def test_leaving_twice() -> None:
    """Leaving without having joined, or twice, does nothing."""
    broadcaster, turn = made()
    subscriber = FakeSubscriber(Counting(), "a", ALL)
    broadcaster.leave(subscriber)
    broadcaster.join(subscriber)
    broadcaster.leave(subscriber)
    broadcaster.leave(subscriber)
    broadcaster.publish(deleted(1))
    turn.end()
    assert subscriber.writes == []


def test_another_log() -> None:
    """A log that was replaced: the last of the old one is sent, everybody is reset, live or not, the ring is empty."""
    broadcaster, _ = made()
    live, catching_up = FakeSubscriber(Counting(), "a"), FakeSubscriber(Counting(), "a")
    broadcaster.everyone |= {live, catching_up}
    broadcaster.join(live)
    broadcaster.publish(deleted(9))
    broadcaster.start_afresh(5, "replaced")
    assert live.writes == [b"9;"] and live.resets == catching_up.resets == [(5, "replaced")]
    assert broadcaster.head == 5 and broadcaster.since(5) == [] and broadcaster.since(4) is None
    assert broadcaster.knows(5) and not broadcaster.knows(9)
    broadcaster.tell_everyone(Status(True))
    assert live.told == catching_up.told == [Status(True)]


async def test_reached() -> None:
    """Who waits for a position is woken when it is published, at once if it was, and when the log begins afresh."""
    broadcaster, turn = made()
    loop = asyncio.get_running_loop()
    futures = [loop.create_future() for _ in range(5)]
    futures[4].cancel()
    for seq, future in zip((0, 5, 6, 99, 5), futures, strict=True):
        broadcaster.reached(seq, future)
    assert [future.done() for future in futures] == [True, False, False, False, True]
    broadcaster.publish(deleted(5))
    turn.end()
    assert [future.done() for future in futures] == [True, True, False, False, True]
    broadcaster.start_afresh(1, "replaced")
    assert all(future.done() for future in futures)


class Laborious(FakeSubscriber):
    """One that takes long to write to."""

    def __init__(self, turn: Turn, seconds: float) -> None:
        super().__init__(Counting(), "a")
        take = self.outgoing.take

        def labour(data: bytes) -> int:
            turn.now += seconds
            return take(data)

        self.outgoing.take = labour


def test_a_rest_under_load() -> None:
    """A note that came while the last was sent waits for as long as that took, and others join it."""
    broadcaster, turn = made()
    subscriber = Laborious(turn, 0.005)
    broadcaster.join(subscriber)
    broadcaster.publish(deleted(1))
    turn.end()
    turn.now += 0.00005
    broadcaster.publish(deleted(2))
    turn.now += 0.003
    broadcaster.publish(deleted(3))
    assert turn.due == [] and [round(seconds, 6) for seconds, _ in turn.resting] == [0.00495]
    turn.resting.pop()[1]()
    assert subscriber.writes == [b"1;", b"2;3;"]


def test_no_rest_without_load() -> None:
    """A note that comes by itself goes out at the end of the turn, however long the flush before it took."""
    broadcaster, turn = made()
    broadcaster.join(Laborious(turn, 0.005))
    for seq in (1, 2, 3):
        broadcaster.publish(deleted(seq))
        assert len(turn.due) == 1 and turn.resting == []
        turn.end()
        turn.now += 0.0002


def test_no_rest_is_long() -> None:
    """However long a flush took, the next note waits for at most 20 ms."""
    broadcaster, turn = made()
    broadcaster.join(Laborious(turn, 1.0))
    broadcaster.publish(deleted(1))
    turn.end()
    broadcaster.publish(deleted(2))
    assert 0.01 < turn.resting[0][0] <= 0.02
