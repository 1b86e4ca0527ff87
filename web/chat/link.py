"""The WebSocket of the page.

Owns the socket of one `hub.client.Client`: it connects, carries the messages, and reconnects after the delay that the
client gives. It never decides what a message means; the client does. Messages are handled once a frame and for a few
milliseconds only, so ten thousand notes at once do not block the page. A message that cannot be read, or whose handling
fails, never stops the ones after it.
"""

import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any

from js import WebSocket, document, location, setInterval, window
from pyodide.ffi import create_proxy

from chat.browser import Timer, Turn, on
from chat.status import BROKEN
from hub.client.events import ClientEvent
from hub.client.state import RETRY, Client
from hub.protocol.codec import UNDECODABLE

BUDGET = 0.010  # seconds of each frame for the messages that have arrived
QUIET = 27.0  # seconds of silence after which the page pings the hub; a page cannot see the hub's own pings, each 25 s
GIVEN_UP = 9.0  # seconds to wait for the answer to that ping


class Link:
    """Keeps a client connected. `tell` gets each client event in order, and `told` is called after some of them."""

    def __init__(self, client: Client, tell: Callable[[ClientEvent], None], told: Callable[[], None]) -> None:
        self.client = client
        self._tell, self._told = tell, told
        self._socket: Any = None
        self._arrived: deque[str] = deque()
        self._turn = Turn(self._handle)
        self._refused = False  # whether the hub refuses for good
        self._heard = self._asked = 0.0  # monotonic times of the last message, and of a ping without an answer
        self._on_message, self._on_close = create_proxy(self._message), create_proxy(self._closed)
        self._again, self._retry = Timer(self.connect), Timer(self._retried)
        on(window, "online", lambda _: self.connect())
        on(window, "offline", lambda _: self._break("the browser is offline"))
        self._watch = create_proxy(self._check)
        setInterval(self._watch, 3000)

    def connect(self) -> None:
        """Connect now, unless there is a socket already."""
        self._again.stop()
        if self._socket is None and not self._refused:
            self._socket = socket = WebSocket.new(location.origin.replace("http", "ws", 1) + self.client.path())
            self._heard, self._asked = time.monotonic(), 0.0
            socket.onmessage, socket.onclose = self._on_message, self._on_close

    def send(self) -> None:
        """Send the messages that the client has to send."""
        for data in self.client.to_send():
            # If the socket closes here, it calls `_closed`, and the client sends again what was lost.
            if self._socket is not None and self._socket.readyState == WebSocket.OPEN:
                self._socket.send(data.decode())

    def _message(self, event: Any) -> None:
        self._arrived.append(event.data)
        if document.hidden:
            self._handle(until=float("inf"))  # a hidden page has no frames, and browsers slow its timers down
        else:
            self._turn.ask()

    def _handle(self, until: float | None = None) -> None:
        self._heard, self._asked = time.monotonic(), 0.0
        end = time.perf_counter() + BUDGET if until is None else until
        while self._arrived and time.perf_counter() < end:
            for event in self._received(self._arrived.popleft()):
                _safely(self._tell, event)
        if self._arrived:
            self._turn.ask()
        if self.client.retrying and not self._retry.waiting:
            self._retry.start(RETRY)
        self.send()
        _safely(self._told)

    def _received(self, data: str) -> list[ClientEvent]:
        """The client events of a message. A newer hub may send some that this page does not know: they have none."""
        try:
            return self.client.received(data)
        except UNDECODABLE:
            return []

    def _retried(self) -> None:
        self.client.retry()
        self.send()

    def _closed(self, event: Any) -> None:
        self._ended(event.code, event.reason)

    def _break(self, reason: str) -> None:
        """Give up a socket at once: if the hub is silent, the closing handshake would take a minute."""
        if (socket := self._socket) is not None:
            socket.onmessage = socket.onclose = None
            socket.close()
            self._ended(BROKEN, reason)

    def _ended(self, code: int, reason: str) -> None:
        self._socket = None
        self._handle(until=float("inf"))
        interrupted = self.client.closed(code, reason)
        self._retry.stop()
        self._refused = interrupted.delay is None
        if interrupted.delay is not None:
            self._again.start(interrupted.delay)
        _safely(self._tell, interrupted)
        _safely(self._told)

    def _check(self, *_: Any) -> None:
        """Ping a hub that is silent, and give up one that does not answer (keep-alive)."""
        now = time.monotonic()
        if self._socket is None:
            return
        if self._asked and now - self._asked > GIVEN_UP:
            self._break("the hub does not answer")
        elif not self._asked and now - self._heard > QUIET:
            self._asked = now
            self.client.ping()
            self.send()


def _safely(function: Callable[..., object], *arguments: Any) -> None:
    """Call a function, and write its failure to the console: it must not end the connection."""
    try:
        function(*arguments)
    except Exception:
        traceback.print_exc()
