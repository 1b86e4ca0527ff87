"""The WebSocket of the page.

Owns the socket of one `hub.client.Client`: it connects, reconnects when that says so, and carries
texts. What they mean is decided there. What arrives is handled once a frame and for a few
milliseconds only, so that ten thousand notes at once do not stop the page.
"""

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
from js import WebSocket, clearTimeout, document, location, setInterval, setTimeout, window
from pyodide.ffi import create_proxy

from chat.browser import Turn, on
from hub.client.events import Signal
from hub.client.state import RETRY, Client

BUDGET = 0.010  # seconds of a frame for what has arrived
QUIET = 27.0  # seconds without a word after which the hub is asked for one; it pings at 25, which we can't see
GIVEN_UP = 9.0  # seconds to wait for that word
NEVER = 1006  # the close code of a connection that broke


class Link:
    """Keeps a client connected. `tell` gets each signal in order, `told` is called after some of them."""

    def __init__(self, client: Client, tell: Callable[[Signal], None], told: Callable[[], None]) -> None:
        self.client = client
        self._tell, self._told = tell, told
        self._socket: Any = None
        self._arrived: deque[str] = deque()
        self._turn = Turn(self._handle)
        self._timer: int | None = None
        self._refused = False  # for good
        self._heard = self._asked = 0.0
        self._on_message, self._on_close = create_proxy(self._message), create_proxy(self._closed)
        self._again, self._retry = create_proxy(self.connect), create_proxy(self._retried)
        on(window, "online", lambda _: self.connect())
        on(window, "offline", lambda _: self._break("the browser is offline"))
        self._watch = create_proxy(self._check)
        setInterval(self._watch, 3000)

    def connect(self, *_: Any) -> None:
        """Connect now, unless there is a socket already."""
        if self._timer is not None:
            clearTimeout(self._timer)
            self._timer = None
        if self._socket is None and not self._refused:
            self._socket = socket = WebSocket.new(location.origin.replace("http", "ws", 1) + self.client.path())
            self._heard, self._asked = time.monotonic(), 0.0
            socket.onmessage, socket.onclose = self._on_message, self._on_close

    def send(self) -> None:
        """Send what the client has to send."""
        for data in self.client.to_send():
            # A socket that closes now says so; the outbox keeps what was lost.
            if self._socket is not None and self._socket.readyState == WebSocket.OPEN:
                self._socket.send(data.decode())

    def _message(self, event: Any) -> None:
        self._arrived.append(event.data)
        if document.hidden:
            self._handle(until=float("inf"))  # timers are rare then, and nobody waits for a frame
        else:
            self._turn.ask()

    def _handle(self, until: float | None = None) -> None:
        self._heard, self._asked = time.monotonic(), 0.0
        end = time.perf_counter() + BUDGET if until is None else until
        while self._arrived and time.perf_counter() < end:
            # A newer hub may say what this page does not know.
            with suppress(msgspec.DecodeError):
                for signal in self.client.received(self._arrived.popleft()):
                    self._tell(signal)
        if self._arrived:
            self._turn.ask()
        if self.client.retrying:
            setTimeout(self._retry, RETRY * 1000)
        self.send()
        self._told()

    def _retried(self) -> None:
        self.client.retry()
        self.send()

    def _closed(self, event: Any) -> None:
        self._ended(event.code, event.reason)

    def _break(self, reason: str) -> None:
        """Give up a socket of which nothing is heard; its own close would take a minute."""
        if (socket := self._socket) is not None:
            socket.onmessage = socket.onclose = None
            socket.close()
            self._ended(NEVER, reason)

    def _ended(self, code: int, reason: str) -> None:
        self._socket = None
        self._handle(until=float("inf"))
        interrupted = self.client.closed(code, reason)
        self._refused = interrupted.delay is None
        if interrupted.delay is not None:
            self._timer = setTimeout(self._again, interrupted.delay * 1000)
        self._tell(interrupted)
        self._told()

    def _check(self, *_: Any) -> None:
        now = time.monotonic()
        if self._socket is None:
            return
        if self._asked and now - self._asked > GIVEN_UP:
            self._break("the hub does not answer")
        elif not self._asked and now - self._heard > QUIET:
            self._asked = now
            self.client.ping()
            self.send()
