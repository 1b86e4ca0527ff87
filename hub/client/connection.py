"""The Python client: a hub's notes as an asynchronous iterator that survives lost connections.

Owns the socket of one `hub.client.Client`: it connects, carries the bytes, and reconnects after the delay that the
client gives. It never decides what a message means; the client does.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable

import aiohttp

from hub.client.events import Accepted, ClientEvent, Interrupted, Rejected
from hub.client.state import RETRY, Client
from hub.errors import ClosedError, RejectedError
from hub.protocol import BAD_REQUEST, LOBBY, Error

MAX_UNREAD = 10_000  # events kept for a slow user; at this number, the hub is not read either (backpressure)
HEARTBEAT = 20.0  # seconds of silence after which the client pings the hub (keep-alive)
TIMEOUT = aiohttp.ClientWSTimeout(ws_close=2.0)  # seconds for the closing handshake


class Connection:
    """A client of a hub, made by `connect`.

    It is an asynchronous iterator: it gives every ClientEvent in order and waits for more. It raises ClosedError once
    the hub refuses for good. To resume later, pass `cursor` to `connect` as `after`. `client` is the state, with the
    outbox.
    """

    def __init__(self, url: str, client: Client) -> None:
        self.client = client
        self.cursor = client.cursor  # the position of the events that the user has got: resume after it
        self._url = url.rstrip("/").replace("ws", "http", 1) if url.startswith("ws") else url.rstrip("/")
        self._events: asyncio.Queue[tuple[ClientEvent, int | None]] = asyncio.Queue(MAX_UNREAD)  # each with the cursor
        self._answers: dict[str, asyncio.Future[Accepted]] = {}  # key → the result of `publish`
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._closed: str | None = None  # the reason, once the hub has refused for good
        self._refusal = ""  # the last error without an id: it says more than a close code
        self._hurry = asyncio.Event()  # ends the wait before the next attempt

    def __aiter__(self) -> AsyncIterator[ClientEvent]:
        return self

    async def __anext__(self) -> ClientEvent:
        event, self.cursor = await self._events.get()
        if isinstance(event, Interrupted) and event.delay is None:
            raise ClosedError(self._closed)
        return event

    async def publish(self, username: str, body: str, topic: str | None = None, key: str | None = None) -> Accepted:
        """Publish a note and wait until it is committed, however often the connection is lost meanwhile.

        The arguments are those of `Client.publish`. Cancelling ends the wait, but the note is still sent. Raises
        RejectedError if the hub refuses the note, and ClosedError if the hub refuses the client for good.
        """
        if self._closed is not None:
            raise ClosedError(self._closed)
        key = self.client.publish(username, body, topic, key)
        answer = self._answers.setdefault(key, asyncio.get_running_loop().create_future())
        await self._send()
        return await asyncio.shield(answer)

    async def post(self, username: str, body: str, topic: str | None = None) -> str:
        """Publish a note without waiting for the commit. Returns the key that its Accepted or Rejected will carry."""
        key = self.client.publish(username, body, topic)
        await self._send()
        return key

    async def subscribe(self, topic: str, after: int | None = None) -> None:
        """Follow one more topic, from now on or after the cursor `after`."""
        self.client.subscribe(topic, after)
        await self._send()

    async def unsubscribe(self, topic: str) -> None:
        """Stop following a topic."""
        self.client.unsubscribe(topic)
        await self._send()

    async def run(self) -> None:
        """Connect and reconnect until cancelled, or until the hub refuses for good."""
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

    async def _queue(self, event: ClientEvent) -> None:
        await self._events.put((event, self.client.cursor))

    async def _connection(self, http: aiohttp.ClientSession) -> tuple[int, str]:
        """Make one connection and serve it until it ends. Returns the close code and the reason."""
        try:
            async with http.ws_connect(
                self._url + self.client.path(), heartbeat=HEARTBEAT, timeout=TIMEOUT, max_msg_size=0, compress=0
            ) as socket:
                self._socket = socket
                return await self._receive(socket)
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
            return BAD_REQUEST, f"{self._url!r} is no address of a hub, such as http://127.0.0.1:8080"
        except aiohttp.WSServerHandshakeError as error:
            # 4xx: the address is wrong, so another attempt cannot help. 5xx: a proxy cannot reach its hub.
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
                for event in self.client.received(message.data):
                    await self._tell(event)
            await self._send()

    async def _tell(self, event: ClientEvent) -> None:
        if isinstance(event, Accepted | Rejected) and (answer := self._answers.pop(event.key, None)):
            if isinstance(event, Accepted):
                answer.set_result(event)
            else:
                answer.set_exception(RejectedError(event.error))
        if isinstance(event, Error) and event.id is None:
            self._refusal = f"{event.message} {event.hint}"
        await self._queue(event)

    async def _send(self) -> None:
        if self._socket is None:
            self._hurry.set()  # there is something to send: connect at once
            return
        for data in self.client.to_send():
            # If the socket breaks here, `_receive` ends the connection, and the client sends again what was lost.
            with contextlib.suppress(ConnectionError, aiohttp.ClientError):
                await self._socket.send_str(data.decode())


@contextlib.asynccontextmanager
async def connect(
    url: str, topics: Iterable[str] = (LOBBY,), after: int | None = None, last: int | None = None
) -> AsyncIterator[Connection]:
    """Follow topics of the hub at `url` (http, https, ws or wss) for as long as the context lasts.

    `after` resumes from a cursor, and `last` begins with that many of the newest notes. With both, `last` counts only
    if the hub cannot resume from the cursor. With neither, the first note is the next one that is committed.

    Iterate over the connection to get every `hub.client.ClientEvent`. It connects again whenever the connection is
    lost, and never skips an event silently: a Reset marks each gap. The iterator raises ClosedError once the hub
    refuses for good.
    """
    connection = Connection(url, Client(topics, after, last))
    # A task group would wrap the exceptions of the user's own code in an ExceptionGroup.
    running = asyncio.ensure_future(connection.run())
    try:
        yield connection
    finally:
        running.cancel()
        await asyncio.wait([running])
        if not running.cancelled():
            running.result()
