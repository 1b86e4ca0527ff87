"""The Python library: a hub's notes as an asynchronous iterator, over any number of connections.

Owns the socket of one `hub.client.Client`: it connects, reconnects when that says so, and carries
the bytes. What they mean is decided there.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable

import aiohttp

from hub.client.events import Accepted, Interrupted, Rejected, Signal
from hub.client.state import RETRY, Client
from hub.errors import ClosedError, RejectedError
from hub.protocol import BAD_REQUEST, LOBBY, Error

MAX_UNREAD = 10_000  # signals kept for a user who does not read them; then the hub is not read either
HEARTBEAT = 20.0  # seconds of silence after which the hub is pinged
TIMEOUT = aiohttp.ClientWSTimeout(ws_close=2.0)


class Connection:
    """A client of a hub, made by `connect`. Iterating gives every Signal in order, and waits for more."""

    def __init__(self, url: str, client: Client) -> None:
        self.client = client
        self.cursor = client.cursor  # where the signals that were handed out have come to: resume after it
        self._url = url.rstrip("/").replace("ws", "http", 1) if url.startswith("ws") else url.rstrip("/")
        self._signals: asyncio.Queue[tuple[Signal, int | None]] = asyncio.Queue(MAX_UNREAD)  # with the cursor
        self._answers: dict[str, asyncio.Future[Accepted]] = {}
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._closed: str | None = None  # why, once the hub has refused for good
        self._refusal = ""  # the last error that was about no command: it says more than a close code
        self._hurry = asyncio.Event()

    def __aiter__(self) -> AsyncIterator[Signal]:
        return self

    async def __anext__(self) -> Signal:
        signal, self.cursor = await self._signals.get()
        if isinstance(signal, Interrupted) and signal.delay is None:
            raise ClosedError(self._closed)
        return signal

    async def publish(self, username: str, body: str, topic: str | None = None, key: str | None = None) -> Accepted:
        """Publish a note and wait until it is committed, however often the hub restarts meanwhile.

        Raises RejectedError, or ClosedError. Cancelling stops the waiting, not the sending.
        """
        if self._closed is not None:
            raise ClosedError(self._closed)
        key = self.client.publish(username, body, topic, key)
        answer = self._answers.setdefault(key, asyncio.get_running_loop().create_future())
        await self._send()
        return await asyncio.shield(answer)

    async def post(self, username: str, body: str, topic: str | None = None) -> str:
        """Publish a note without waiting; gives the key under which Accepted or Rejected comes."""
        key = self.client.publish(username, body, topic)
        await self._send()
        return key

    async def subscribe(self, topic: str, after: int | None = None) -> None:
        """Follow one more topic."""
        self.client.subscribe(topic, after)
        await self._send()

    async def unsubscribe(self, topic: str) -> None:
        """Follow a topic no more."""
        self.client.unsubscribe(topic)
        await self._send()

    async def run(self) -> None:
        """Stay connected until cancelled, or until the hub refuses for good."""
        async with aiohttp.ClientSession() as http:
            while True:
                code, reason = await self._connection(http)
                interrupted = self.client.closed(code, reason)
                if interrupted.delay is None:
                    await self._close(self._refusal or reason or f"closed with code {code}", interrupted)
                    return
                await self._queue(interrupted)
                self._hurry.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._hurry.wait(), interrupted.delay)

    async def _close(self, reason: str, last: Interrupted) -> None:
        self._closed = reason
        for answer in self._answers.values():
            answer.set_exception(ClosedError(reason))
        await self._queue(last)

    async def _queue(self, signal: Signal) -> None:
        await self._signals.put((signal, self.client.cursor))

    async def _connection(self, http: aiohttp.ClientSession) -> tuple[int, str]:
        """One connection from its start to its end: the close code and reason."""
        try:
            async with http.ws_connect(
                self._url + self.client.path(), heartbeat=HEARTBEAT, timeout=TIMEOUT, max_msg_size=0, compress=0
            ) as socket:
                self._socket = socket
                return await self._receive(socket)
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
            return BAD_REQUEST, f"{self._url!r} is no address of a hub, such as http://127.0.0.1:8080"
        except aiohttp.WSServerHandshakeError as error:
            # 4xx: no hub is there, and none will be; 5xx: a proxy whose hub is away.
            code = BAD_REQUEST if 400 <= error.status < 500 else 1006
            return code, f"{self._url} is no hub: it answers with status {error.status}"
        except aiohttp.ClientConnectorError as error:
            return 1006, f"no hub answers at {self._url} ({error.os_error.strerror or error.os_error})"
        except (aiohttp.ClientError, OSError) as error:
            return 1006, str(error) or type(error).__name__
        finally:
            self._socket = None

    async def _receive(self, socket: aiohttp.ClientWebSocketResponse) -> tuple[int, str]:
        while True:
            try:
                message = await socket.receive(timeout=RETRY if self.client.retrying else None)
            except TimeoutError:
                self.client.retry()
            else:
                if message.type is aiohttp.WSMsgType.CLOSE:
                    return message.data or 1005, str(message.extra or "")
                if message.type is not aiohttp.WSMsgType.TEXT:
                    return socket.close_code or 1006, "the connection broke"
                for signal in self.client.received(message.data):
                    await self._tell(signal)
            await self._send()

    async def _tell(self, signal: Signal) -> None:
        if isinstance(signal, Accepted | Rejected) and (answer := self._answers.pop(signal.key, None)):
            if isinstance(signal, Accepted):
                answer.set_result(signal)
            else:
                answer.set_exception(RejectedError(signal.error))
        if isinstance(signal, Error) and signal.id is None:
            self._refusal = f"{signal.message} {signal.hint}"
        await self._queue(signal)

    async def _send(self) -> None:
        if self._socket is None:
            self._hurry.set()  # somebody is waiting: try at once
            return
        for data in self.client.to_send():
            # A socket that breaks now is noticed by its reader; the outbox keeps what was lost.
            with contextlib.suppress(ConnectionError, aiohttp.ClientError):
                await self._socket.send_str(data.decode())


@contextlib.asynccontextmanager
async def connect(
    url: str, topics: Iterable[str] = (LOBBY,), after: int | None = None, last: int | None = None
) -> AsyncIterator[Connection]:
    """Follow topics of the hub at `url` (http or ws): after a cursor, or with the newest `last` notes, or from now.

    The iterator gives notes, deletions, and signals on the connection's state (`hub.signals.Signal`).
    It never ends by itself and never skips: whatever breaks is connected again. Raises ClosedError
    from the iterator once the hub refuses for good.
    """
    connection = Connection(url, Client(topics, after, last))
    # No task group: it would wrap what the user's own code raises.
    running = asyncio.ensure_future(connection.run())
    try:
        yield connection
    finally:
        running.cancel()
        await asyncio.wait([running])
        if not running.cancelled():
            running.result()
