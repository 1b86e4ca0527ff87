"""The state of one client: cursor, duplicates, back-off and outbox.

Owns what a client remembers from one connection to the next. It takes the messages that were received, and gives the
messages to send and the events for the user. It never opens a socket and never waits: a terminal, a browser or a test
carries the bytes. It needs only the standard library and msgspec, since the browser runs it too.
"""

from collections.abc import Callable, Iterable, Iterator, KeysView
from typing import Final
from urllib.parse import urlencode
from uuid import uuid4

from hub.backoff import backoff
from hub.client.events import Accepted, ClientEvent, Interrupted, Rejected
from hub.protocol import (
    ALL,
    LOBBY,
    Ack,
    CaughtUp,
    Deleted,
    Error,
    History,
    Message,
    Note,
    Page,
    Ping,
    Pong,
    Publish,
    Reset,
    Status,
    Subscribe,
    Unsubscribe,
    Welcome,
    may_reconnect,
)
from hub.protocol.codec import decode_message, encode

FIRST_DELAY: Final = 0.5  # seconds; the first wait is at most this long, and the limit doubles with each failed attempt
# The limit stops here, in seconds. People who wait for a hub that is back wait half of it on average, and the attempts
# of 5,000 clients are 2,000 a second, fewer than a hub takes.
LONGEST_DELAY: Final = 5.0
RETRY: Final = 1.0  # seconds until a note is sent again after a temporary error
MAX_PATH: Final = 4000  # bytes of path and query; a hub takes a request line of 8,190, and a proxy may add to it


class Client:
    """The state of one client.

    `topics` are the topics to follow: `*` is all, and no topic makes a client that only publishes. `after` is a cursor
    to resume from. `last` is how many of the newest notes to ask for where there is no cursor, or the hub cannot resume
    from it; topics that do not fit into the address (MAX_PATH) may go without. `delays` makes the waits between
    attempts to connect, in seconds; they start anew each time the client is live.

    Everything up to `cursor` was given to the user, in the topics that have no cursor of their own; None means that
    there is no position yet. `live` says whether the client has caught up.
    """

    def __init__(
        self,
        topics: Iterable[str] = (LOBBY,),
        after: int | None = None,
        last: int | None = None,
        delays: Callable[[], Iterator[float]] = lambda: backoff(FIRST_DELAY, LONGEST_DELAY),
    ) -> None:
        self._topics = dict.fromkeys(topics)  # in the user's order
        self._home = next((topic for topic in self._topics if topic not in ("", ALL)), LOBBY)
        self.cursor = after
        self.live = False
        self.outbox: dict[str, Publish] = {}  # notes by key, in order, until the hub acknowledges or refuses them
        self._last = last
        self._behind: dict[str, int] = {}  # topic → its own cursor, while it catches up with `cursor`
        self._asked: dict[str, str] = {}  # id of a subscribe → its topic, until the hub answers
        self._catching_up: set[str] = set()  # the topics in `_behind` whose subscribe is acknowledged
        self._snapshot = False  # a snapshot is being received: its notes come in any order of seq
        self._welcomed = False
        self._current = False  # the hub has said caught_up on this connection
        self._retry: list[str] = []  # keys of notes to send again
        self._numbers = 0  # counts the commands, for their ids
        self._delays = delays
        self._delay = delays()
        self._sending: list[bytes] = []

    @property
    def topics(self) -> KeysView[str]:
        """The topics that are followed, in the order in which the user named them."""
        return self._topics.keys()

    @property
    def resume_after(self) -> int | None:
        """The cursor after which another client of the same topics misses nothing; None if there is no position yet."""
        return None if self.cursor is None else min((self.cursor, *self._behind.values()))

    # Called by the owner of the socket.

    @property
    def welcomed(self) -> bool:
        """Whether the hub has welcomed the client on the present connection."""
        return self._welcomed

    def path(self) -> str:
        """The path and query to connect to next. They name the topics, the cursor and `last`.

        Topics that do not fit into MAX_PATH are subscribed after the welcome, from the same cursor.
        """
        places = {"after": self.cursor, "last": self._last}
        place = urlencode({name: value for name, value in places.items() if value is not None})
        room = MAX_PATH - len(f"/ws?&{place}")
        query: list[str] = []
        for topic in (ALL,) if ALL in self.topics - self._behind.keys() else self.topics:
            part = urlencode({"topic": topic})
            if topic not in self._behind and len(part) < room:
                query.append(part)
                room -= len(part) + 1
        return "/ws?" + "&".join([*(query or ["topic="]), *([place] if place else [])])

    def closed(self, code: int, reason: str = "") -> Interrupted:
        """Record that the connection ended with this close code, or could not be made (code 1006).

        The event that it returns says after how many seconds to connect again, or that the code forbids it.
        """
        self.live = self._welcomed = self._snapshot = self._current = False
        self._asked.clear()
        self._catching_up.clear()
        self._retry.clear()
        self._sending.clear()
        return Interrupted(code, reason, next(self._delay) if may_reconnect(code) else None)

    def received(self, data: bytes | str) -> list[ClientEvent]:
        """Take one message of the hub and return the events for the user; a duplicate or an unknown type gives none.

        Raises ProtocolError if the data is not a message of the protocol. Then end the connection and call `closed`
        (INVALID), since the message may have been an event or an answer that only the next connection can repeat.
        """
        message = decode_message(data)
        return [] if message is None else list(self._handle(message))

    def to_send(self) -> list[bytes]:
        """Take the messages to send now, in order; each is one text frame."""
        sending, self._sending = self._sending, []
        return sending

    @property
    def retrying(self) -> bool:
        """Whether some notes must be sent again: call `retry` in RETRY seconds."""
        return bool(self._retry)

    def retry(self) -> None:
        """Send again the notes that the hub refused with a temporary error."""
        keys, self._retry = self._retry, []
        self._sending += [encode(self.outbox[key]) for key in keys if key in self.outbox]

    # Called by the user.

    def publish(self, username: str, body: str, topic: str | None = None, key: str | None = None) -> str:
        """Put a note into the outbox and return its key.

        The note is sent on every connection until the hub acknowledges or refuses it; the hub saves each key once.
        Without a `topic` the note goes to the first one that the client was made with, or to the lobby. Without a `key`
        it gets a random one.
        """
        key = key or uuid4().hex
        note = self.outbox[key] = Publish(username, body, topic or self._home, key, id=key)
        if self._welcomed:
            self._sending.append(encode(note))
        return key

    def subscribe(self, topic: str, after: int | None = None) -> None:
        """Follow one more topic. With `after`, the hub first sends what happened in the topic after that cursor."""
        self._topics[topic] = None
        if after is not None:
            self._behind[topic] = after
        if self._welcomed:
            self._subscribe(topic)

    def unsubscribe(self, topic: str) -> None:
        """Stop following a topic."""
        self._topics.pop(topic, None)
        self._behind.pop(topic, None)
        self._catching_up.discard(topic)
        if self._welcomed:
            self._sending.append(encode(Unsubscribe(topic)))

    def history(self, topic: str, before: int | None = None, limit: int = 50) -> str | None:
        """Ask for the newest notes of a topic, or for the newest with a rowid below `before`: at most `limit`.

        Returns the id that the answer, a Page or an Error, will carry; None if there is no connection. The request is
        not repeated: when the connection ends before the answer, none will come.
        """
        if not self._welcomed:
            return None
        self._numbers += 1
        id = f"history {self._numbers}"
        self._sending.append(encode(History(topic, before, limit, id)))
        return id

    def ping(self) -> None:
        """Ask the hub for a sign of life (keep-alive), over a socket that cannot send WebSocket pings."""
        if self._welcomed:
            self._sending.append(encode(Ping()))

    def _subscribe(self, topic: str) -> None:
        self._catching_up.discard(topic)
        self._numbers += 1
        id = f"subscribe {self._numbers}"
        self._asked[id] = topic
        self._sending.append(encode(Subscribe(topic, self._behind.get(topic), id)))

    # Messages of the hub.

    def _handle(self, message: Message) -> Iterator[ClientEvent]:
        match message:
            case Note() | Deleted():
                if self._is_new(message.topic, message.seq):
                    yield message
            case CaughtUp():
                yield from self._caught_up(message.seq)
            case Welcome():
                yield from self._greeted(message)
            case Reset():
                self._reset(message)
                yield message
            case Ack():
                yield from self._acknowledged(message)
            case Error():
                yield from self._refused(message)
            case Status() | Page():
                yield message
            case Pong():
                pass

    def _is_new(self, topic: str, seq: int) -> bool:
        """Whether an event is no duplicate; if so, move the cursor of its topic to it."""
        if self._snapshot:
            return True
        for name in (topic, ALL):
            if name in self._behind:
                # Until the subscribe is acknowledged, events belong to an earlier subscription and are repeated.
                if name in self._asked.values() or seq <= self._behind[name]:
                    return False
                self._behind[name] = seq
                self.cursor = max(self.cursor or 0, seq)
                return True
        if self.cursor is not None and seq <= self.cursor:
            return False
        self.cursor = seq
        return True

    def _greeted(self, welcome: Welcome) -> Iterator[ClientEvent]:
        self._welcomed = True
        self._sending += [encode(note) for note in self.outbox.values()]
        asked_for = set(welcome.topics)  # others did not fit into the address, or the user has added them since then
        if ALL not in asked_for:
            position = welcome.seq if self.cursor is None else self.cursor
            self._behind = dict.fromkeys(self.topics - asked_for - {""}, position) | self._behind
        for topic in sorted(self._behind):
            self._subscribe(topic)
        self._sending += [encode(Unsubscribe(topic)) for topic in sorted(asked_for - self.topics)]
        if self.cursor is None and self._last is not None:
            self._snapshot = True
        elif self.cursor is None:
            yield from self._caught_up(welcome.seq)

    def _caught_up(self, seq: int) -> Iterator[ClientEvent]:
        self._snapshot, self._current = False, True
        if seq >= (self.cursor or 0):
            for topic in self._catching_up:
                self._behind.pop(topic, None)
            self._catching_up.clear()
        else:
            # This hub is behind the hub of an earlier connection, so these topics keep their own cursors.
            for topic in self._catching_up:
                self._behind[topic] = max(self._behind.get(topic, 0), seq)
        self.cursor = max(self.cursor or 0, seq)
        if not self._behind.keys() - self._catching_up:
            yield from self._went_live(self.cursor)

    def _went_live(self, cursor: int) -> Iterator[ClientEvent]:
        self.live = True
        self._delay = self._delays()
        yield CaughtUp(cursor)

    def _reset(self, reset: Reset) -> None:
        if reset.topic is not None:
            if reset.topic in self._behind:
                self._behind[reset.topic] = reset.seq
            elif reset.topic in self.topics and reset.seq < (self.cursor or 0):
                # The hub resumed from before this reset, so it repeats the reset and the topic's later events.
                self._behind[reset.topic] = reset.seq
                self._catching_up.add(reset.topic)
            return
        self._behind = dict.fromkeys(self._behind, reset.seq)
        # There is no cursor during a snapshot: if the connection breaks, the client asks for a new snapshot.
        self._snapshot = reset.snapshot
        self.cursor = None if reset.snapshot else reset.seq

    def _acknowledged(self, ack: Ack) -> Iterator[ClientEvent]:
        id = str(ack.id)
        if (topic := self._asked.pop(id, None)) is not None:
            if topic in self._behind and topic not in self._asked.values():
                self._catching_up.add(topic)
        elif self.outbox.pop(id, None) and ack.seq is not None and ack.rowid is not None:
            yield Accepted(id, ack.seq, ack.rowid)

    def _refused(self, error: Error) -> Iterator[ClientEvent]:
        id = str(error.id)
        if id in self.outbox and error.temporary:
            self._retry.append(id)
        elif self.outbox.pop(id, None):
            yield Rejected(id, error)
        elif (topic := self._asked.pop(id, None)) is not None:
            self._topics.pop(topic, None)
            self._behind.pop(topic, None)
            yield error
            if self._current and self.cursor is not None and not self.live and not self._behind:
                yield from self._went_live(self.cursor)  # this was the last topic to wait for
        else:
            yield error
