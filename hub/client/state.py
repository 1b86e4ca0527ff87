"""What every client must know, without its socket: cursor, duplicates, back-off, outbox.

Owns the state of one client of a hub through any number of connections. It takes what was received
and gives what is to be sent and what its user should learn; whoever has a socket (a terminal, a
browser, a test) carries the bytes. Standard library and msgspec only.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final
from urllib.parse import urlencode
from uuid import uuid4

from hub.backoff import backoff
from hub.client.events import Accepted, Interrupted, Rejected, Signal
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

FIRST_DELAY: Final = 0.5  # seconds; the limit of the first wait, doubled with each attempt that fails
LONGEST_DELAY: Final = 15.0
RETRY: Final = 1.0  # seconds before a note is sent again that the hub could not save just now


class Client:
    """One client's memory. `after` resumes from a cursor; `last` asks for the newest notes where there is none."""

    def __init__(
        self,
        topics: Iterable[str] = (LOBBY,),
        after: int | None = None,
        last: int | None = None,
        delays: Callable[[], Iterator[float]] = lambda: backoff(FIRST_DELAY, LONGEST_DELAY),
    ) -> None:
        self.topics = set(topics)
        self.cursor = after
        self.live = False
        self.outbox: dict[str, Publish] = {}  # by key, in the order of publishing, until acknowledged
        self._last = last
        self._behind: dict[str, int] = {}  # topics on their way to the cursor, and how far they have come
        self._asked: dict[str, str] = {}  # id of a subscribe → its topic, until acknowledged
        self._catching_up: set[str] = set()  # the acknowledged ones of `_behind`
        self._snapshot = False  # notes come whatever their seq, until caught up
        self._welcomed = False
        self._retry: list[str] = []
        self._numbers = 0
        self._delays = delays
        self._delay = delays()
        self._sending: list[bytes] = []

    # The connection, as whoever has the socket reports it.

    def path(self) -> str:
        """Where to connect next: path and query, with the topics and the cursor in it."""
        topics = sorted(self.topics - self._behind.keys()) or [""]
        query: list[tuple[str, str | int]] = [("topic", topic) for topic in topics]
        if self.cursor is not None:
            query.append(("after", self.cursor))
        if self._last is not None:
            query.append(("last", self._last))
        return "/ws?" + urlencode(query)

    def closed(self, code: int, reason: str = "") -> Interrupted:
        """The connection ended, or could not be made (code 1006); says when to try again."""
        self.live = self._welcomed = self._snapshot = False
        self._asked.clear()
        self._catching_up.clear()
        self._retry.clear()
        self._sending.clear()
        return Interrupted(code, reason, next(self._delay) if may_reconnect(code) else None)

    def received(self, data: bytes | str) -> list[Signal]:
        """What a message means for the user; nothing for a duplicate. Raises msgspec.DecodeError."""
        return list(self._handle(decode_message(data)))

    def to_send(self) -> list[bytes]:
        """The messages to send now, each a text frame."""
        sending, self._sending = self._sending, []
        return sending

    @property
    def retrying(self) -> bool:
        """Whether `retry` should be called in RETRY seconds."""
        return bool(self._retry)

    def retry(self) -> None:
        """Send again what the hub could not save just now."""
        keys, self._retry = self._retry, []
        self._sending += [encode(self.outbox[key]) for key in keys if key in self.outbox]

    # What the user asks for.

    def publish(self, username: str, body: str, topic: str | None = None, key: str | None = None) -> str:
        """Put a note into the outbox: it is sent until it is acknowledged, and saved once. Gives its key."""
        key = key or uuid4().hex
        note = self.outbox[key] = Publish(username, body, topic, key, id=key)
        if self._welcomed:
            self._sending.append(encode(note))
        return key

    def subscribe(self, topic: str, after: int | None = None) -> None:
        """Follow one more topic; with `after`, first what happened in it after that cursor."""
        self.topics.add(topic)
        if after is not None:
            self._behind[topic] = after
        if self._welcomed:
            self._subscribe(topic)

    def unsubscribe(self, topic: str) -> None:
        """Follow a topic no more."""
        self.topics.discard(topic)
        self._behind.pop(topic, None)
        self._catching_up.discard(topic)
        if self._welcomed:
            self._sending.append(encode(Unsubscribe(topic)))

    def history(self, topic: str, before: int | None = None, limit: int = 50) -> str | None:
        """Ask once for older notes; a Page, or an Error, comes with the id that this gives. None: nobody to ask."""
        if not self._welcomed:
            return None
        self._numbers += 1
        id = f"history {self._numbers}"
        self._sending.append(encode(History(topic, before, limit, id)))
        return id

    def ping(self) -> None:
        """Ask for a sign of life; for sockets that have no pings of their own."""
        if self._welcomed:
            self._sending.append(encode(Ping()))

    def _subscribe(self, topic: str) -> None:
        self._catching_up.discard(topic)
        self._numbers += 1
        id = f"subscribe {self._numbers}"
        self._asked[id] = topic
        self._sending.append(encode(Subscribe(topic, self._behind.get(topic), id)))

    # What the hub says.

    def _handle(self, message: Message) -> Iterator[Signal]:
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
        if self._snapshot:
            return True
        for name in (topic, ALL):
            if name in self._behind:
                # What comes before the acknowledgement is of an earlier subscription, and comes again.
                if name in self._asked.values() or seq <= self._behind[name]:
                    return False
                self._behind[name] = seq
                self.cursor = max(self.cursor or 0, seq)
                return True
        if self.cursor is not None and seq <= self.cursor:
            return False
        self.cursor = seq
        return True

    def _greeted(self, welcome: Welcome) -> Iterator[Signal]:
        self._welcomed = True
        self._sending += [encode(note) for note in self.outbox.values()]
        asked_for = set(welcome.topics)  # and since then the user may have changed them
        if self.cursor is not None:
            self._behind = dict.fromkeys(self.topics - asked_for, self.cursor) | self._behind
        for topic in sorted(self._behind.keys() | (self.topics - asked_for)):
            self._subscribe(topic)
        self._sending += [encode(Unsubscribe(topic)) for topic in sorted(asked_for - self.topics)]
        if self.cursor is None and self._last is not None:
            self._snapshot = True
        elif self.cursor is None:
            yield from self._caught_up(welcome.seq)

    def _caught_up(self, seq: int) -> Iterator[Signal]:
        self._snapshot = False
        if seq >= (self.cursor or 0):
            for topic in self._catching_up:
                self._behind.pop(topic, None)
            self._catching_up.clear()
        else:
            # This hub has heard less than another one that we were at: those topics keep a place of their own.
            for topic in self._catching_up:
                self._behind[topic] = max(self._behind.get(topic, 0), seq)
        self.cursor = max(self.cursor or 0, seq)
        if not self._behind.keys() - self._catching_up:
            self.live = True
            self._delay = self._delays()
            yield CaughtUp(self.cursor)

    def _reset(self, reset: Reset) -> None:
        if reset.topic is not None:
            if reset.topic in self._behind:
                self._behind[reset.topic] = reset.seq
            elif reset.topic in self.topics and reset.seq < (self.cursor or 0):
                # Told again by a hub that was asked from before it; so is all that came after.
                self._behind[reset.topic] = reset.seq
                self._catching_up.add(reset.topic)
            return
        self._behind = dict.fromkeys(self._behind, reset.seq)
        # In the middle of a snapshot there is no cursor: a connection that breaks then asks for another.
        self._snapshot = reset.snapshot
        self.cursor = None if reset.snapshot else reset.seq

    def _acknowledged(self, ack: Ack) -> Iterator[Signal]:
        id = str(ack.id)
        if (topic := self._asked.pop(id, None)) is not None:
            if topic in self._behind and topic not in self._asked.values():
                self._catching_up.add(topic)
        elif self.outbox.pop(id, None) and ack.seq is not None and ack.rowid is not None:
            yield Accepted(id, ack.seq, ack.rowid)

    def _refused(self, error: Error) -> Iterator[Signal]:
        id = str(error.id)
        if id in self.outbox and error.temporary:
            self._retry.append(id)
        elif self.outbox.pop(id, None):
            yield Rejected(id, error)
        elif (topic := self._asked.pop(id, None)) is not None:
            self.topics.discard(topic)
            self._behind.pop(topic, None)
            yield error
        else:
            yield error
