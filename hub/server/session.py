"""The life of one WebSocket, from the welcome to the close.

Owns the dialogue with one client: what it sends is decoded, carried out by `commands`, and answered in order. It reads
the socket whatever the hub waits for: commands that come while another one takes its time wait in an inbox. Only a
client that is over a bound is not read.
"""

import asyncio
import itertools
from collections.abc import Coroutine, Mapping
from typing import Any

import msgspec
import structlog
from aiohttp import WebSocketError, WSMsgType, web

from hub import process
from hub.delivery.outgoing import WEBSOCKET, Outgoing
from hub.errors import CommandError
from hub.feed.writer import CLOSING
from hub.protocol import BAD_REQUEST, FORBIDDEN, GOING_AWAY, PROTOCOL, TOO_BIG, Error, Publish, Status
from hub.protocol.codec import convert
from hub.protocol.formats import Format, json_frame, text_frame
from hub.protocol.frames import pong_frame
from hub.protocol.mistakes import explain
from hub.server import commands, cors
from hub.server.context import CONTEXT, Context
from hub.server.peer import Peer
from hub.server.socket import Socket
from hub.server.stream_query import Query, parse_query

log = structlog.get_logger()

TEXT_PROTOCOL = "text." + PROTOCOL
ENDS = (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR)
TURN = 50  # messages of one client after which others have their turn: a flood must not hold up everybody's answers
MAX_IN_FLIGHT = 10_000  # notes of one client that wait for their acks; then it is not read
MAX_INBOX = 256 << 10  # bytes of commands that wait for one before them; then the client is not read
INBOX_OVERHEAD = 64  # bytes that a waiting command takes besides its own
POLL = 0.02  # seconds between looks at whether a client is still over a bound


class Session:
    """A WebSocket client. `parameters` are those of its address."""

    __slots__ = (
        "_context",
        "_inbox",
        "_inbox_size",
        "_is_text",
        "_parameters",
        "_peer",
        "_query",
        "_socket",
        "_work",
        "outgoing",
    )

    def __init__(
        self,
        context: Context,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport,
        parameters: Mapping[str, str],
    ) -> None:
        self._context = context
        self._socket = socket
        self._parameters = parameters
        self._query = Query()
        self._is_text = socket.ws_protocol == TEXT_PROTOCOL or parameters.get("format") == "text"
        format: Format = text_frame if self._is_text else json_frame
        self.outgoing = Outgoing(transport, WEBSOCKET, context.settings.high_water)
        self._peer = Peer(context, self.outgoing, format)
        self._work: asyncio.Task[None] | None = None  # what takes its time, and then the inbox
        self._inbox: list[bytes] = []  # mostly empty, and then far smaller than a deque
        self._inbox_size = 0

    async def run(self) -> None:
        """Hold the whole dialogue; return when the connection has ended."""
        self._context.connections.add(self.outgoing)
        try:
            if not self.outgoing.closed:
                self._begin()
            await self._receive()
        finally:
            self._context.connections.discard(self.outgoing)
            self._finish()
            self._peer.subscription.close()
            self.outgoing.release()

    def refuse(self, code: int, error: Error) -> None:
        """Say why this connection cannot be, and close it."""
        self._peer.reply(error)
        self.outgoing.close(code, error.code)

    def _begin(self) -> None:
        try:
            self._query = parse_query(self._parameters, self._context.settings.max_topics)
        except CommandError as error:
            self.refuse(BAD_REQUEST, error.error)
            return
        self._peer.home = self._query.home
        if self._context.listener.ready.is_set():
            self._welcome()
        else:
            self._peer.reply(Status(False))
            self._take_time(self._welcome_later())

    async def _welcome_later(self) -> None:
        await process.until(self.outgoing.done, self._context.listener.ready.wait())
        self._welcome()

    def _welcome(self) -> None:
        peer, query = self._peer, self._query
        if not self.outgoing.closed and not self.outgoing.gone:
            peer.reply(self._context.welcome(query.topics))
            self.outgoing.flush()
            peer.subscription.open(query.topics, query.after, query.last)

    # What the client sends.

    async def _receive(self) -> None:
        for number in itertools.count(1):
            if number % TURN == 0:
                await asyncio.sleep(0)
            message = await self._socket.receive()
            self.outgoing.heard()
            if message.type in ENDS:
                if isinstance(message.data, WebSocketError):
                    await self._break_off(message.data.code)
                return
            if self.outgoing.closed:
                continue
            if message.type is WSMsgType.TEXT:
                self._on_text(message.data)
            elif message.type is WSMsgType.BINARY:
                hint = "Send text frames; with websocat, leave out --binary."
                self._peer.reply(Error("binary", "Expected a text frame, got a binary one.", hint))
            elif message.type is WSMsgType.PING:
                self.outgoing.reply(pong_frame(message.data))
            while (self._has_enough or self._inbox_size > MAX_INBOX) and not self.outgoing.gone:
                await asyncio.sleep(POLL)
                self.outgoing.heard()  # who is not read is not silent

    async def _break_off(self, code: int) -> None:
        """Say why what the client sends is not read, and wait until it has had time to read that."""
        most = self._context.settings.max_frame
        reason = f"a message has at most {most} bytes" if code == TOO_BIG else "a frame breaks RFC 6455"
        self.outgoing.close(code, reason)
        await self.outgoing.done.wait()

    @property
    def _has_enough(self) -> bool:
        """Whether the client does not read its replies, or has so many notes under way that the next must wait.

        A small reply takes the hub two or three times its bytes, hence the half.
        """
        return self.outgoing.unsent > self.outgoing.high_water // 2 or self._peer.in_flight >= MAX_IN_FLIGHT

    def _on_text(self, data: bytes) -> None:
        if self._work is not None:
            self._inbox.append(data)
            self._inbox_size += len(data) + INBOX_OVERHEAD
        elif (later := self._carry_out(data)) is not None:
            self._take_time(later)

    def _carry_out(self, data: bytes) -> Coroutine[Any, Any, None] | None:
        """Carry out a command. Returns what is left to be awaited."""
        try:
            command: msgspec.Struct = self._from_line(data) if self._is_text else commands.decode(data)
        except CommandError as error:
            self._peer.reply(error.error)
            return None
        return commands.carry_out(self._peer, command)

    def _take_time(self, work: Coroutine[Any, Any, None]) -> None:
        self._work = asyncio.ensure_future(self._work_off(work))

    async def _work_off(self, work: Coroutine[Any, Any, None]) -> None:
        """Wait for the work, and carry out what has come meanwhile, in order."""
        try:
            await work
            while self._inbox and not self.outgoing.closed:
                while self._has_enough:
                    await asyncio.sleep(POLL)
                if (later := self._carry_out(self._next())) is not None:
                    await later
        except Exception:
            # A client that waits for an answer must not stay connected as if one would come.
            log.error("command_failed", exc_info=True)
            self.outgoing.abort()
        finally:
            self._work = None

    def _next(self) -> bytes:
        data = self._inbox.pop(0)
        self._inbox_size -= len(data) + INBOX_OVERHEAD
        return data

    def _finish(self) -> None:
        """Stop the work of a client that has left, but save the notes that it has sent."""
        if self._work is None:
            return
        self._work.cancel()
        while self._inbox:
            if (later := self._carry_out(self._next())) is not None:
                later.close()

    def _from_line(self, data: bytes) -> Publish:
        """The note of a typed line. Raises CommandError."""
        try:
            line = data.decode().rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise CommandError(explain(error)) from error
        if self._query.username is None:
            hint = "Connect with your name in the address: …&username=NAME"
            raise CommandError(Error("no_username", "The hub does not know who you are.", hint))
        return convert({"username": self._query.username, "body": line}, Publish)


async def serve_socket(request: web.Request) -> web.WebSocketResponse:
    """Upgrade the request and hold its session."""
    context = request.app[CONTEXT]
    socket = Socket(
        protocols=(PROTOCOL, TEXT_PROTOCOL),
        compress=False,
        decode_text=False,
        autoping=False,
        autoclose=False,
        max_msg_size=context.settings.max_frame + 1,  # the library refuses messages of this size and more
    )
    await socket.prepare(request)
    if request.transport is not None:
        session = Session(context, socket, request.transport, request.query)
        if context.closing:
            session.refuse(GOING_AWAY, CLOSING)
        elif not cors.allows(request, context.settings):
            session.refuse(FORBIDDEN, cors.refusal(request))
        await session.run()
    return socket
