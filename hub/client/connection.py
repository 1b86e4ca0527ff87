"""The Python client: a hub's notes as an asynchronous iterator that survives lost connections.

Owns the socket of one `hub.client.Client`: it connects, carries the bytes, and reconnects after the delay that the
client gives. It never decides what a message means; the client does.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Iterable

import aiohttp

from hub.client.events import Accepted, ClientEvent, Rejected
from hub.client.state import RETRY, Client
from hub.errors import ClosedError, HubError, ProtocolError, RejectedError, Unavailable, UnreachableError
from hub.protocol import BAD_REQUEST, INVALID, LOBBY, Error, Status

# A library's log is the standard one: without any set-up its warnings go to standard error (Python manual, logging).
log = logging.getLogger("hub.client")

MAX_UNREAD = 10_000  # events kept for a slow user; at this number, the hub is not read either (backpressure)
HEARTBEAT = 20.0  # seconds of silence after which the client pings the hub (keep-alive)
HANDSHAKE = 10.0  # seconds for a connection to be made
TIMEOUT = aiohttp.ClientWSTimeout(ws_close=2.0)  # seconds for the closing handshake
NOT_NOW = (408, 425, 429)  # of the 4xx, the HTTP statuses after which the same request may succeed later


class Connection:
    """A client of a hub, made by `connect`.

    It is an asynchronous iterator: it gives every ClientEvent in order and waits for more. Once the connection has
    ended for good, the iterator and all methods raise the reason: ClosedError if the hub refuses this client, or
    after the end of `connect`'s context; UnreachableError without `retry`; any other error is a bug, which is logged
    too. To resume later, pass `cursor` to `connect` as `after`. `client` is the state, with the outbox.
    """

    def __init__(self, url: str, client: Client, retry: bool = True) -> None:
        self.client = client
        self.cursor = client.resume_after  # the position of the events that the user has got: resume after it
        self._url = url.rstrip("/").replace("ws", "http", 1) if url.startswith("ws") else url.rstrip("/")
        self._retry = retry
        # Each event with its cursor; None at the end.
        self._events: asyncio.Queue[tuple[ClientEvent, int | None] | None] = asyncio.Queue(MAX_UNREAD)
        self._answers: dict[str, asyncio.Future[Accepted]] = {}  # key → the result of `publish`
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._sending = asyncio.Lock()  # one sender at a time, so that commands leave in the user's order
        self._welcomed = asyncio.Event()  # the hub has welcomed the client, or the connection has ended for good
        self._trouble: HubError = UnreachableError(f"no hub answers at {self._url}")  # why there is no welcome yet
        self._ended: Exception | None = None  # why, once the connection has ended for good
        self._refusal = ""  # the last error without an id: it says more than a close code
        self._hurry = asyncio.Event()  # ends the wait before the next attempt

    def __aiter__(self) -> AsyncIterator[ClientEvent]:
        return self

    async def __anext__(self) -> ClientEvent:
        if self._events.empty():
            self._raise_if_ended()
        if (item := await self._events.get()) is None:
            self._events.put_nowait(None)  # for whoever asks next
            self._raise_if_ended()
            raise AssertionError("the end came before its reason")
        event, self.cursor = item
        return event

    async def publish(self, username: str, body: str, topic: str | None = None, key: str | None = None) -> Accepted:
        """Publish a note and wait until it is committed, however often the connection is lost meanwhile.

        The arguments are those of `Client.publish`. Cancelling ends the wait, but the note is still sent. Raises
        RejectedError if the hub refuses the note, and the reason if the connection ends for good. The iterator does not
        give the result again.
        """
        self._raise_if_ended()
        key = self.client.publish(username, body, topic, key)
        answer = self._answers.setdefault(key, asyncio.get_running_loop().create_future())
        await self._send()
        return await asyncio.shield(answer)

    async def post(self, username: str, body: str, topic: str | None = None) -> str:
        """Publish a note without waiting for the commit. Returns the key that its Accepted or Rejected will carry."""
        self._raise_if_ended()
        key = self.client.publish(username, body, topic)
        await self._send()
        return key

    async def subscribe(self, topic: str, after: int | None = None) -> None:
        """Follow one more topic, from now on or after the cursor `after`."""
        self._raise_if_ended()
        self.client.subscribe(topic, after)
        await self._send()

    async def unsubscribe(self, topic: str) -> None:
        """Stop following a topic."""
        self._raise_if_ended()
        self.client.unsubscribe(topic)
        await self._send()

    async def welcome(self, timeout: float | None) -> None:
        """Wait for the first welcome of the hub, for `timeout` seconds at most.

        Raises UnreachableError or Unavailable when they are over, and the reason if the connection ends for good.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._welcomed.wait()
        except TimeoutError:
            raise self._trouble from None
        self._raise_if_ended()

    async def run(self) -> None:
        """Connect and reconnect until cancelled, or until the connection ends for good."""
        try:
            self.end(await self._connections())
        except Exception as error:
            log.exception("the client of %s has failed", self._url)
            self.end(error)

    def end(self, reason: Exception) -> None:
        """Raise the reason from whatever waits or is asked from now on. Only the first call counts."""
        if self._ended is not None:
            return
        self._ended = reason
        self._welcomed.set()
        for answer in self._answers.values():
            _fail(answer, reason)
        with contextlib.suppress(asyncio.QueueFull):  # then nobody waits, and the reason comes after what is there
            self._events.put_nowait(None)

    def _raise_if_ended(self) -> None:
        if self._ended is not None:
            raise self._ended

    async def _connections(self) -> HubError:
        """Make one connection after the other. Returns the reason for which there is no other."""
        async with aiohttp.ClientSession() as http:
            while True:
                code, reason = await self._connection(http)
                reason = reason or f"{self._url} has closed the connection with code {code}"
                interrupted = self.client.closed(code, reason)
                if interrupted.delay is None:
                    return ClosedError(self._refusal or reason)
                self._trouble = UnreachableError(reason)
                if not self._retry:
                    return self._trouble
                log.warning("not connected to %s: %s; next attempt in %.1f s", self._url, reason, interrupted.delay)
                await self._queue(interrupted)
                self._hurry.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._hurry.wait(), interrupted.delay)

    async def _queue(self, event: ClientEvent) -> None:
        await self._events.put((event, self.client.resume_after))

    async def _connection(self, http: aiohttp.ClientSession) -> tuple[int, str]:
        """Make one connection and serve it until it ends. Returns the close code and the reason."""
        self._refusal = ""
        address = self._url + self.client.path()
        try:
            async with asyncio.timeout(HANDSHAKE):
                socket = await http.ws_connect(
                    address, heartbeat=HEARTBEAT, timeout=TIMEOUT, max_msg_size=0, compress=0
                )
            self._socket = socket
            try:
                return await self._receive(socket)
            finally:
                await socket.close()
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
            return BAD_REQUEST, f"{self._url!r} is no address of a hub, such as http://127.0.0.1:8080"
        except aiohttp.WSServerHandshakeError as error:
            if error.status >= 500 or error.status in NOT_NOW:  # of a proxy
                return 1006, f"the hub behind {self._url} can't be reached now (status {error.status})"
            # 4xx: the address is wrong, so another attempt cannot help.
            code = BAD_REQUEST if error.status >= 400 else 1006
            return code, f"{self._url} is no hub: it answers with status {error.status}"
        except aiohttp.ClientConnectorError as error:
            return 1006, f"no hub answers at {self._url} ({_in_words(error.os_error)})"
        except TimeoutError:
            return 1006, f"no hub answers at {self._url} within {HANDSHAKE:g} s"
        except (aiohttp.ClientError, OSError) as error:
            return 1006, str(error) or type(error).__name__
        finally:
            self._socket = None

    async def _receive(self, socket: aiohttp.ClientWebSocketResponse) -> tuple[int, str]:
        clock = asyncio.get_running_loop().time
        retry_at: float | None = None  # due whatever else arrives meanwhile
        while True:
            if retry_at is not None and clock() >= retry_at:
                retry_at = None
                self.client.retry()
            if retry_at is None and self.client.retrying:
                retry_at = clock() + RETRY
            await self._send()
            try:
                message = await socket.receive(timeout=None if retry_at is None else max(0.001, retry_at - clock()))
            except TimeoutError:
                continue
            if message.type is aiohttp.WSMsgType.CLOSE:
                return message.data or 1005, str(message.extra or "")
            if message.type is not aiohttp.WSMsgType.TEXT:
                return socket.close_code or 1006, f"the connection to {self._url} broke"
            try:
                events = self.client.received(message.data)
            except ProtocolError as error:
                await socket.close(code=INVALID)
                return INVALID, str(error)
            if self.client.welcomed:
                self._welcomed.set()
            for event in events:
                await self._tell(event)

    async def _tell(self, event: ClientEvent) -> None:
        if isinstance(event, Accepted | Rejected) and (answer := self._answers.pop(event.key, None)):
            if isinstance(event, Accepted):
                answer.set_result(event)
            else:
                _fail(answer, RejectedError(event.error))
            return  # who only publishes need not read events
        if isinstance(event, Error) and event.id is None:
            self._refusal = f"{event.message} {event.hint}"
        if event == Status(False):
            self._trouble = Unavailable(f"the hub at {self._url} answers, but its database can't be reached")
        await self._queue(event)

    async def _send(self) -> None:
        async with self._sending:
            if (socket := self._socket) is None:
                self._hurry.set()  # there is something to send: connect at once
                return
            for data in self.client.to_send():
                # If the socket breaks here, `_receive` ends the connection, and the client sends again what was lost.
                with contextlib.suppress(ConnectionError, aiohttp.ClientError):
                    await socket.send_str(data.decode())


def _in_words(error: OSError) -> str:
    if isinstance(error, ConnectionError) and error.errno:
        return os.strerror(error.errno)  # asyncio's own text repeats the address
    return error.strerror or str(error)


def _fail(answer: asyncio.Future[Accepted], reason: Exception) -> None:
    answer.set_exception(reason)
    answer.exception()  # asyncio would log it if whoever has published waits no longer


@contextlib.asynccontextmanager
async def connect(
    url: str,
    topics: Iterable[str] = (LOBBY,),
    after: int | None = None,
    last: int | None = None,
    *,
    retry: bool = True,
    connect_timeout: float | None = None,
) -> AsyncIterator[Connection]:
    """Follow topics of the hub at `url` (http, https, ws or wss) for as long as the context lasts.

    `after` resumes from a cursor, and `last` begins with that many of the newest notes. With both, `last` counts only
    if the hub cannot resume from the cursor. With neither, the first note is the next one that is committed.

    Iterate over the connection to get every `hub.client.ClientEvent`. It connects again whenever the connection is
    lost, and never skips an event silently: a Reset marks each gap. Each lost connection and each failed attempt is an
    Interrupted, and a warning of the logger "hub.client". The iterator raises ClosedError once the hub refuses for
    good.

    By default the context begins at once, and the client tries for ever. `connect_timeout` waits for the hub's welcome
    first, and raises after that many seconds: UnreachableError if no hub answers, Unavailable if the hub answers but
    not its database. Later losses are healed as usual. With `retry=False` the client connects once: the context begins
    with the hub's welcome, the first failure is raised here, and a later loss of the connection by the iterator and
    the methods, all as UnreachableError. Both raise ClosedError if the hub refuses.
    """
    connection = Connection(url, Client(topics, after, last), retry)
    # A task group would wrap the exceptions of the user's own code in an ExceptionGroup.
    running = asyncio.ensure_future(connection.run())
    try:
        if connect_timeout is not None or not retry:
            await connection.welcome(connect_timeout)
        yield connection
    finally:
        running.cancel()
        await asyncio.wait([running])
        connection.end(ClosedError("the context of hub.connect has ended"))
