"""One client's way through the stream: from now, from a cursor, with the newest notes, slowly, and to its end."""

import asyncio
from collections.abc import Sequence

import pytest

from hub.protocol import CaughtUp, Deleted, Note, Reset, Status
from tests.fakes import HIGH_WATER, note, small_pages, until, world

__all__ = ["small_pages"]

pytestmark = pytest.mark.usefixtures("small_pages")


async def test_live_from_now() -> None:
    """Without a cursor it is live at once, and gets nothing that was before."""
    async with world() as w:
        w.publish("a", "a")
        sink, subscription = w.client()
        subscription.open(frozenset("a"), None, None)
        assert subscription.live
        late = w.publish("a", "b")
        w.broadcaster.flush()
        assert sink.seqs() == late[:1] and sink.writes == 1 and w.log.reads == 0


async def test_caught_up_is_told_once() -> None:
    """Who asked for the past is told where it ends, after it and before what is live."""
    async with world(ring_events=100) as w:
        seqs = w.publish(*"aaaaa")
        sink, subscription = w.client(high_water=10**6)
        subscription.open(frozenset("a"), seqs[1], None)
        await until(lambda: subscription.live)
        w.publish("a")
        w.broadcaster.flush()
        kinds = [type(message).__name__ for message in sink.received]
        assert kinds == ["Deleted"] * 3 + ["CaughtUp", "Deleted"] and sink.received[3] == CaughtUp(seqs[-1])
        assert w.log.reads == 0, "the ring reached back far enough"


async def test_a_slow_client() -> None:
    """One that does not drain leaves the live set, holds little more than its limit, and gets all of it later."""
    async with world(ring_events=5) as w:
        sink, subscription = w.client()
        subscription.open(frozenset("a"), None, None)
        seqs = []
        for _ in range(50):
            seqs += w.publish("a", "b", "a")
            w.broadcaster.flush()
            await asyncio.sleep(0)
        assert not subscription.live and sink.unsent < 2 * HIGH_WATER + 200
        while not subscription.live:
            assert sink.unsent < 2 * HIGH_WATER + 200
            sink.unsent = 0
            await asyncio.sleep(0)
        assert sink.seqs() == [event.seq for event in w.log.entries if event.topic == "a"]
        assert not any(isinstance(message, CaughtUp | Reset) for message in sink.received)


async def test_last() -> None:
    """With `last` the newest notes come first, then the position, then what is live."""
    async with world() as w:
        for _ in range(5):
            w.commit("a", note)
        w.hear()
        sink, subscription = w.client(high_water=10**6)
        subscription.open(frozenset("a"), None, 3)
        await until(lambda: subscription.live)
        w.publish("a")
        w.broadcaster.flush()
        head = w.log.entries[4].seq
        assert sink.seqs() == [event.seq for event in w.log.entries[2:]] and sink.received[3] == CaughtUp(head)


@pytest.mark.parametrize("last", [None, 2])
async def test_an_unknown_cursor(last: int | None) -> None:
    """A cursor that is no position of this log is answered with a reset; with `last` the newest notes follow."""
    async with world() as w:
        for _ in range(3):
            w.commit("a", note)
        w.hear()
        sink, subscription = w.client(high_water=10**6)
        subscription.open(frozenset("a"), 11, last)
        await until(lambda: subscription.live)
        w.publish("a")
        w.broadcaster.flush()
        reset, *rest = sink.received
        assert isinstance(reset, Reset) and (reset.seq, reset.topic) == (w.log.entries[2].seq, None)
        assert [type(message).__name__ for message in rest] == ["Note"] * (last or 0) + ["CaughtUp", "Deleted"]


async def test_an_unknown_cursor_of_one_topic() -> None:
    """A bad cursor of one more topic resets that topic alone; the others go on without a gap."""
    async with world() as w:
        w.publish("a", "b")
        sink, subscription = w.client()
        subscription.open(frozenset("a"), None, None)
        subscription.add("b", 11)
        await until(lambda: subscription.live)
        w.publish("a", "b")
        w.broadcaster.flush()
        (reset,) = (message for message in sink.received if isinstance(message, Reset))
        assert (reset.topic, reset.seq) == ("b", w.log.entries[1].seq)
        assert sink.seqs() == [event.seq for event in w.log.entries[2:]]


async def test_another_log() -> None:
    """When the log is another one, live and catching-up clients are reset, and go on from there."""
    async with world(ring_events=1) as w:
        w.publish(*"aaaa")
        (live_sink, live), (slow_sink, slow) = w.client(), w.client()
        live.open(frozenset("a"), None, None)
        slow.open(frozenset("a"), w.log.entries[0].seq, None)
        slow_sink.unsent = 10**6
        await asyncio.sleep(0)
        w.log.entries, w.heard = [], 0
        w.broadcaster.start_afresh(0, "replaced")
        new = w.publish("a", "a")
        slow_sink.unsent = 0
        await until(lambda: slow.live)
        w.broadcaster.flush()
        for sink in (live_sink, slow_sink):
            at = sink.received.index(Reset(0, "replaced"))
            assert [message.seq for message in sink.received[at:] if isinstance(message, Deleted)] == new


async def test_the_database_away() -> None:
    """While the log can't be read a client waits, and goes on where it was."""
    async with world(ring_events=1) as w:
        seqs = w.publish(*"aaaa")
        w.log.failures = 3
        sink, subscription = w.client(high_water=10**6)
        subscription.open(frozenset("a"), seqs[0], None)
        await until(lambda: subscription.live)
        assert sink.seqs() == seqs[1:] and not sink.aborted


async def test_a_failure_nobody_foresaw(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client whose catch-up fails is dropped, to come back with its cursor; it does not stay without its stream."""
    async with world(ring_events=1) as w:
        seqs = w.publish(*"aaaa")
        w.log.entries = None  # type: ignore[assignment]
        sink, subscription = w.client()
        subscription.open(frozenset("a"), seqs[1], None)
        await until(lambda: sink.aborted)
        w.log.entries = []


async def test_closed() -> None:
    """After close nothing is written, from live or from a page or a snapshot under way."""
    async with world(ring_events=1) as w:
        w.commit("a", note)
        seqs = w.publish(*"aaaaaa")
        read, reading, closed = w.log.snapshot, asyncio.Event(), asyncio.Event()

        async def read_late(topics: Sequence[str] | None, last: int) -> tuple[list[Note], int]:
            found = await read(topics, last)
            reading.set()
            await closed.wait()
            return found

        w.log.snapshot = read_late  # type: ignore[method-assign]
        (live_sink, live), (sink, subscription), (snapshot_sink, snapshot) = w.client(), w.client(), w.client()
        live.open(frozenset("a"), None, None)
        subscription.open(frozenset("a"), seqs[0], None)
        while w.log.reads < 2:
            await asyncio.sleep(0)
        snapshot.open(frozenset("a"), None, 5)
        await reading.wait()
        for each in (subscription, live, snapshot):
            each.close()
        closed.set()
        written = len(sink.received)
        w.publish("a")
        w.broadcaster.tell_everyone(Status(False))
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(sink.received) == written and live_sink.received == [] and not w.broadcaster.everyone
        assert snapshot_sink.received == []


async def test_a_reset_of_the_log_for_one_topic() -> None:
    """A truncation that only one topic passes on its way to live resets that topic, not what is newer of the others."""
    async with world(ring_events=100) as w:
        first = w.publish("b")[0]
        seq = w.commit(None, lambda seq: Reset(seq, "emptied"))
        w.publish("a", "b")
        sink, subscription = w.client(high_water=10**6)
        subscription.open(frozenset("a"), None, None)
        subscription.add("b", first)
        await until(lambda: subscription.live)
        resets = [message for message in sink.received if isinstance(message, Reset)]
        assert resets == [Reset(seq, "emptied", "b")] and len(sink.seqs()) == 1
        w.commit(None, lambda seq: Reset(seq, "emptied again"))
        w.hear()
        w.broadcaster.flush()
        assert isinstance(sink.received[-1], Reset) and sink.received[-1].topic is None
