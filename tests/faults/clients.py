"""Clients of the hubs: `hub.client.Client` with a socket, and every bad habit that a client can have.

Owns one client's connections and the record of what the client told its user. What the record
should be is `exactness`'s to say.
"""

import asyncio
import random
import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlencode, urlsplit

import aiohttp

from hub.client.events import Accepted, ClientEvent, Rejected
from hub.client.state import RETRY, Client
from hub.protocol import ALL, Ack, Deleted, Error, Note, Reset, Welcome
from hub.protocol.codec import decode_message
from tests.faults.record import Period, Seen, seen_of
from tests.faults.writers import TOPICS

CONNECT = 5.0  # seconds for a connection to be made


class Habits(NamedTuple):
    """How often a client does what, a second."""

    publish: float = 4.0
    hop: float = 0.5
    stall: float = 0.25
    topics: float = 1.5
    stale: float = 0.3  # share of the connections that are made with an older cursor


def delays() -> Iterator[float]:
    """Short waits before each further attempt."""
    while True:
        yield random.uniform(0.01, 0.2)


class Driver:
    """One client. `calm` ends its habits; it then only receives, and connects again where it must."""

    def __init__(
        self, name: str, seed: int, kind: type[Client], topics: Sequence[str], addresses: Sequence[str], habits: Habits
    ) -> None:
        self.name = name
        self.client = kind(topics, after=0, delays=delays)
        self.calm = False
        self.periods: list[Period] = [Period(topic, None) for topic in topics]
        self.tokens: dict[str, str] = {}  # key → the body published under it
        self.accepted: dict[str, Accepted] = {}
        self.troubles: list[str] = []
        self.counts = Counter[str]()
        self.trace: list[str] = []  # what it did and was told, save notes; for whoever must explain a finding
        self._open = {period.topic: period for period in self.periods}
        self._rng = random.Random(f"{seed} client {name}")
        self._addresses = addresses
        self._habits = habits

    async def run(self) -> None:
        """Connect to one hub after the other, until cancelled."""
        connector = aiohttp.TCPConnector(socket_factory=_socket)
        async with aiohttp.ClientSession(connector=connector) as http:
            while True:
                code = await self._connection(http)
                self._log(f"closed {code}")
                interrupted = self.client.closed(code)
                if interrupted.delay is None:
                    self.troubles.append(f"closed for good with code {code}")
                    return
                await asyncio.sleep(interrupted.delay)

    def reached(self, heads: dict[str, int]) -> bool:
        """Whether it has everything up to the newest event of each of its topics, and all its notes are saved."""
        client = self.client
        if client.outbox or not client.live:
            return False
        for topic, head in heads.items():
            period = self._open.get(ALL) or self._open.get(topic)
            # A topic may be followed only since after its newest event; one on its way has a place of its own.
            if period and max(period.start or 0, client._behind.get(period.topic, client.cursor or 0)) < head:
                return False
        return True

    async def _connection(self, http: aiohttp.ClientSession) -> int:
        address = self._rng.choice(self._addresses) + self._path()
        self._log(f"connect {address}")
        try:
            async with asyncio.timeout(CONNECT):
                connection = await http.ws_connect(address, max_msg_size=0, compress=0)
        except (aiohttp.ClientError, OSError):
            return 1006
        self.counts["connections"] += 1
        try:
            return await self._receive(connection)
        except (ConnectionError, aiohttp.ClientError):
            return 1006
        finally:
            connection._response.close()  # no farewell: a cable that is pulled

    def _path(self) -> str:
        path = self.client.path()
        if self.calm or self.client.cursor is None or self.client._behind or self._rng.random() > self._habits.stale:
            return path
        parts = urlsplit(path)
        query = parse_qs(parts.query, keep_blank_values=True)
        known = [seen.seq for period in self._open.values() for seen in period.seen[-2000:]]
        older = [seq for seq in known if seq <= self.client.cursor]
        if older:
            query["after"] = [str(self._rng.choice(older))]
            self.counts["stale cursors"] += 1
        return parts.path + "?" + urlencode(query, doseq=True)

    async def _receive(self, connection: aiohttp.ClientWebSocketResponse) -> int:
        clock = asyncio.get_running_loop().time
        act_at = clock() + 0.05
        retry_at: float | None = None
        while True:
            try:
                message = await connection.receive(timeout=max(0.001, act_at - clock()))
            except TimeoutError:
                message = None
            if message and message.type is not aiohttp.WSMsgType.TEXT:
                return message.data if message.type is aiohttp.WSMsgType.CLOSE and message.data else 1006
            if message:
                self._take(message.data)
            if self.client.retrying:
                retry_at = retry_at or clock() + RETRY / 4
                if clock() >= retry_at:
                    self.client.retry()
                    retry_at = None
            leaving = False
            if clock() >= act_at:
                leaving = not self.calm and await self._act(0.05)
                act_at = clock() + 0.05
            for data in self.client.to_send():
                await connection.send_str(data.decode())
            if leaving:
                return 1006

    async def _act(self, seconds: float) -> bool:
        """Do what falls due by chance in some seconds; True to break the connection."""
        habits, rng = self._habits, self._rng
        if rng.random() < habits.publish * seconds:
            for _ in range(rng.choice((1, 1, 3))):
                self._publish()
        if rng.random() < habits.topics * seconds:
            self._change_topics()
        if rng.random() < habits.stall * seconds:
            self.counts["stalls"] += 1
            await asyncio.sleep(rng.uniform(0.2, 2.5))
        return rng.random() < habits.hop * seconds

    def _publish(self) -> None:
        body = f"{self.name} {len(self.tokens)} {self._rng.getrandbits(64):016x}"
        self.tokens[self.client.publish(self.name, body, self._rng.choice(TOPICS))] = body

    def _change_topics(self) -> None:
        topics = self.client.topics
        topic = self._rng.choice(TOPICS)
        if ALL in topics or topic in self.client._asked.values():
            return
        if topic in topics:
            if len(topics) > 1:
                self._log(f"unsubscribe {topic}")
                self.client.unsubscribe(topic)
                self._open.pop(topic).closed = True
                self.counts["unsubscribed"] += 1
            return
        earlier = [seen.seq for period in self.periods if period.topic == topic for seen in period.seen]
        after = self._rng.choice((None, 0, *((max(earlier), self._rng.choice(earlier)) if earlier else ())))
        self._log(f"subscribe {topic} {after}")
        self.client.subscribe(topic, after)
        self._open[topic] = Period(topic, after)
        self.periods.append(self._open[topic])
        self.counts["subscribed"] += 1

    def _log(self, text: str) -> None:
        client = self.client
        self.trace.append(
            f"{time.time():.4f} cursor {client.cursor} live {client.live} behind {client._behind} asked {client._asked}"
            f" catching up {client._catching_up}: {text}"
        )

    def _take(self, data: str) -> None:
        asked = dict(self.client._asked) if '"subscribe ' in data else {}
        events = self.client.received(data)
        if not data.startswith(('{"type":"note"', '{"type":"deleted"')):
            self._log(data[:200])
        if asked or data.startswith('{"type":"welcome"'):
            self._placed(decode_message(data), asked)
        for event in events:
            self._told(event)

    def _placed(self, message: object, asked: dict[str, str]) -> None:
        """A period begins at the client's cursor, or where a hub that is ahead of that says."""
        if isinstance(message, Welcome):
            for period in self._open.values():
                cursor = self.client._behind.get(period.topic, self.client.cursor)
                # Once something was seen, only a reset can have taken the cursor back before the start. The record
                # begins anew at that reset (exactness.segments); what was seen before it is owed from the old start.
                if cursor is not None and not period.seen:
                    period.start = cursor if period.start is None else min(period.start, cursor)
        elif isinstance(message, Ack) and (period := self._open.get(asked.get(str(message.id), ""))):
            period.start = max(message.seq or 0, self.client.cursor or 0) if period.start is None else period.start

    def _told(self, event: ClientEvent) -> None:
        match event:
            case Note() | Deleted():
                period = self._open.get(ALL) or self._open.get(event.topic)
                if period and period.start is not None:
                    self.counts["deliveries"] += 1
                    period.seen.append(seen_of(event))
            case Reset():
                self.counts["resets"] += 1
                if event.snapshot:
                    self.troubles.append(f"a snapshot that nobody asked for: {event}")
                for period in self._open.values():
                    if period.start is not None and event.topic in (None, period.topic):
                        period.seen.append(Seen(event.seq, "reset"))
            case Accepted():
                self.accepted[event.key] = event
            case Rejected() | Error():
                self.troubles.append(f"refused: {event}")


def _socket(address: tuple[Any, ...]) -> socket.socket:
    """A socket that holds little, so that a stall soon reaches the hub."""
    made = socket.socket(*address[:3])
    made.setblocking(False)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1000)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    return made
