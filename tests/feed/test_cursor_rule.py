"""The cursor rule: whatever happens, a subscription gets the events of its topics after its cursor, in order, once."""

import asyncio
from collections.abc import Iterable

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hub.protocol import ALL, Deleted
from tests.fakes import World, small_pages, world

__all__ = ["small_pages"]

pytestmark = pytest.mark.usefixtures("small_pages")

TOPICS = ("a", "b", "c")


class Model:
    """One client, and what is due to it: of each topic, what follows a cursor (none: nothing), since some message."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.sink, self.subscription = world.client()
        self.opened_at = 0
        self.due: dict[str, tuple[int | None, int]] = dict.fromkeys(TOPICS, (None, 0))

    def _from_now(self, topics: Iterable[str], cursor: int | None) -> None:
        self.due |= {topic: (cursor, len(self.sink.received)) for topic in topics}

    def open(self, topics: frozenset[str], after: int | None) -> None:
        self.opened_at = self.world.broadcaster.head if after is None else after
        self.subscription.open(topics, after, None)
        self._from_now(TOPICS if ALL in topics else topics, self.opened_at)

    def add(self, topic: str, after: int | None) -> None:
        if ALL in self.subscription.topics and topic != ALL:
            return  # the session refuses it
        wanted = TOPICS if topic == ALL else (topic,)
        # Who has seen more than this hub has heard begins there.
        start = max(self.world.broadcaster.head, self.opened_at) if after is None else after
        self.subscription.add(topic, after)
        self._from_now([name for name in wanted if after is not None or self.due[name][0] is None], start)

    def remove(self, topic: str) -> None:
        topics = self.subscription.topics
        if topic not in topics or (ALL in topics and topic != ALL):
            return  # the session refuses it
        self.subscription.remove(topic)
        self.check_all(whole=False)
        self._from_now(TOPICS if topic == ALL else (topic,), None)

    def check_all(self, whole: bool) -> None:
        """What came of a topic is what the log has after the cursor: without gaps at any time, all in the end."""
        for topic, (cursor, since) in self.due.items():
            log = [event.seq for event in self.world.log.entries if event.topic == topic and event.message]
            due = [] if cursor is None else [seq for seq in log if seq > cursor]
            came = [e.seq for e in self.sink.received[since:] if isinstance(e, Deleted) and e.topic == topic]
            assert came == (due if whole else due[: len(came)])


topics = st.sampled_from(TOPICS)
clients, places = st.integers(0, 1), st.none() | st.integers(0, 40)
add = st.tuples(st.just("add"), clients, topics, places)
turn = st.tuples(st.just("turn"), st.integers(1, 4))
publish = st.tuples(st.just("publish"), st.lists(topics, min_size=1, max_size=6))
OPERATIONS = st.one_of(
    publish,
    publish,
    add,
    add,
    turn,
    turn,
    st.tuples(st.just("add"), clients, st.just(ALL), places),
    st.tuples(st.just("remove"), clients, topics | st.just(ALL)),
    st.tuples(st.just("drain"), clients, st.integers(100, 1000)),
    st.tuples(st.just("commit"), st.lists(topics, min_size=1, max_size=6)),
    st.tuples(st.just("hear"), st.integers(1, 6)),
    st.tuples(st.just("pass over"), topics),
    st.tuples(st.just("open"), st.frozensets(topics) | st.just(frozenset((ALL,))), places),
    st.tuples(st.just("fail"), st.integers(1, 3)),
)


async def play(operations: list[tuple], ring_events: int, seed: int) -> None:
    """Do all this, let everybody take all of it, and see whether everybody has what is theirs."""
    async with world(ring_events=ring_events, seed=seed) as w:
        models: list[Model] = [Model(w), Model(w)]

        def cursor(at: int | None) -> int | None:
            return None if at is None else w.log.entries[at % len(w.log.entries)].seq

        w.publish(*"abcabcab")
        models[0].open(frozenset("a"), None)
        models[1].open(frozenset("ab"), cursor(1))
        for name, *arguments in operations:
            match name, arguments:
                case "publish", [names]:
                    w.publish(*names)
                case "commit", [names]:
                    for topic in names:
                        w.commit(topic)
                case "pass over", [topic]:
                    w.commit(topic, lambda _: None)
                case "hear", [count]:
                    w.hear(count)
                case "open", [names, at]:
                    models.append(Model(w))
                    models[-1].open(names, cursor(at))
                case "add", [which, topic, at]:
                    models[which].add(topic, cursor(at))
                case "remove", [which, topic]:
                    models[which].remove(topic)
                case "drain", [which, size]:
                    sink = models[which].sink
                    sink.unsent = max(0, sink.unsent - size)
                case "turn", [turns]:
                    for _ in range(turns):
                        await asyncio.sleep(0)
                case "fail", [times]:
                    w.log.failures = times
            for model in models:
                model.check_all(whole=False)
        w.hear()
        while not all(model.subscription.live for model in models):
            for model in models:
                model.sink.unsent = 0
            await asyncio.sleep(0)
        w.broadcaster.flush()
        for model in models:
            model.check_all(whole=True)


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(
    [("turn", 1), ("add", 0, ALL, 0), ("remove", 0, ALL), ("turn", 1), ("add", 0, ALL, 0), ("publish", ["a"])], 1, 0
)
@given(st.lists(OPERATIONS, min_size=8, max_size=40), st.integers(1, 8), st.integers())
def test_cursor_rule(operations: list[tuple], ring_events: int, seed: int) -> None:
    """Each subscription gets exactly the events of its topics after its cursor, in order, none twice.

    Whatever is published meanwhile, however slow it is, whatever the ring has forgotten, however
    late the log answers or the hub hears of it, and however its topics change on the way.
    """
    asyncio.run(play(operations, ring_events, seed))
