"""One WebSocket's life, from the welcome to the close.

Owns the dialogue with one client: what it sends is decoded, carried out by `commands`, and answered in order.
"""

import asyncio
import itertools
import time
from collections.abc import Mapping

import structlog
from aiohttp import WSMsgType, web

from hub.delivery.outgoing import Connection
from hub.errors import CommandError
from hub.feed.subscription import DRAIN_POLL, Subscription
from hub.feed.writer import CLOSING
from hub.protocol import (
    BAD_REQUEST,
    FORBIDDEN,
    GOING_AWAY,
    PROTOCOL,
    Command,
    Error,
    Message,
    Publish,
    Status,
)
from hub.protocol.codec import convert, decode_command, explain
from hub.protocol.formats import PING_FRAME, Format, close_frame, json_frame, pong_frame, text_frame
from hub.server import cors as origins
from hub.server.context import Hub
from hub.server.old_commands import Commands
from hub.server.stream_query import Query, parse_query

log = structlog.get_logger()

TEXT_PROTOCOL = "text." + PROTOCOL
CLOSE_TIMEOUT = 1.0  # seconds that a client has to answer our close
ENDS = (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR)
TURN = 50  # messages of one client after which others have theirs: a flood must not hold up the database's answers
MAX_IN_FLIGHT = 10_000  # notes of one client that wait for their acks; then its next commands wait


class Session(Connection):
    """A WebSocket client."""

    def __init__(
        self,
        hub: Hub,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport,
        parameters: Mapping[str, str],
    ) -> None:
        super().__init__(transport, self._ping)
        self._hub = hub
        self._socket = socket
        self._parameters = parameters
        is_text = socket.ws_protocol == TEXT_PROTOCOL or parameters.get("format") == "text"
        self._format: Format = text_frame if is_text else json_frame
        self._query = Query()
        self._subscription: Subscription | None = None
        self._commands: Commands | None = None
        self._replies: list[bytes] = []
        self.closing = False  # our close frame is on its way
        self._done = asyncio.Event()

    async def run(self) -> None:
        """The whole dialogue; returns when the connection has ended."""
        self._hub.connections.add(self)
        try:
            if not self.closing:
                await self._begin()
            await self._receive()
        finally:
            self._hub.connections.discard(self)
            if self._subscription:
                self._subscription.close()
            self._done.set()
            if self.closing:
                self._transport.close()  # or else the library would say goodbye again

    async def end(self, code: int, reason: str) -> None:
        """Say goodbye and wait for the client's own close, for a moment."""
        self._say_goodbye(code, reason)
        await self._done.wait()

    def refuse(self, code: int, error: Error) -> None:
        """Say why this connection can't be, and goodbye."""
        self.reply(error)
        self._say_goodbye(code, error.code)

    def _say_goodbye(self, code: int, reason: str) -> None:
        # The client is still read until it has closed, too: a connection closed with data unread is
        # reset, and that would take with it what the client has not read yet (RFC 6455 §7.1.1).
        if self.closing:
            return
        if self._subscription:
            self._subscription.close()
        self._flush()
        self.write(close_frame(code, reason))
        self.closing = True
        asyncio.get_running_loop().call_later(CLOSE_TIMEOUT, self._hang_up)

    def _hang_up(self) -> None:
        if self.buffered():
            self.abort()
        else:
            self._transport.close()
        self._done.set()  # even if the dialogue still waits for the database

    async def _ping(self) -> None:
        if not self.closing:
            self.write(PING_FRAME)

    def reply(self, message: Message) -> None:
        """Write a message; those of one turn of the event loop go out together."""
        if self.closing or not (data := self._format(message)):
            return
        if not self._replies:
            asyncio.get_running_loop().call_soon(self._flush)
        self._replies.append(data)

    def _flush(self) -> None:
        replies, self._replies = self._replies, []
        if replies:
            self.write(b"".join(replies))

    async def _begin(self) -> None:
        try:
            self._query = parse_query(self._parameters, self._hub.settings.max_topics)
        except CommandError as error:
            self.refuse(BAD_REQUEST, error.error)
        else:
            await self._welcome()

    async def _welcome(self) -> None:
        hub, query = self._hub, self._query
        if not hub.listener.ready.is_set():
            self.reply(Status(False))
            await hub.listener.ready.wait()
        subscription = self._subscription = hub.subscription(self, self._format)
        # What a client had sent before it went away is done all the same.
        self._commands = Commands(hub, subscription, query.home, self.reply, self._flush)
        if not self.closing and not self.gone():
            self.reply(hub.welcome(query.topics))
            self._flush()
            subscription.open(query.topics, query.after, query.last)

    async def _receive(self) -> None:
        for number in itertools.count(1):
            if number % TURN == 0:
                await asyncio.sleep(0)
            message = await self._socket.receive()
            self.heard_at, self.pinged_at = time.monotonic(), None
            if message.type in ENDS:
                return
            if self.closing:
                continue
            if message.type is WSMsgType.TEXT:
                await self._on_text(message.data)
            elif message.type is WSMsgType.BINARY:
                hint = "Send text frames; with websocat, leave out --binary."
                self.reply(Error("binary", "Expected a text frame, got a binary one.", hint))
            elif message.type is WSMsgType.PING:
                self.write(pong_frame(message.data))

    async def _on_text(self, data: bytes) -> None:
        assert self._commands
        try:
            command = self._decode(data)
        except CommandError as error:
            self.reply(error.error)
            return
        await self._commands.carry_out(command)
        # A client that does not read its replies, or publishes faster than is written, is not read either.
        while self._commands.in_flight >= MAX_IN_FLIGHT or self.buffered() > self._hub.settings.high_water:
            await asyncio.sleep(DRAIN_POLL)

    def _decode(self, data: bytes) -> Command:
        if self._format is json_frame:
            return decode_command(data)
        try:
            line = data.decode().rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise CommandError(explain(error)) from error
        return convert({"username": self._username(), "body": line}, Publish)

    def _username(self) -> str:
        if self._query.username is None:
            hint = "Connect with your name in the address: …&username=NAME"
            raise CommandError(Error("no_username", "The hub does not know who you are.", hint))
        return self._query.username


async def serve_socket(hub: Hub, request: web.Request) -> web.WebSocketResponse:
    """Upgrade the request and run its session."""
    socket = web.WebSocketResponse(
        protocols=(PROTOCOL, TEXT_PROTOCOL),
        compress=False,
        decode_text=False,
        autoping=False,
        autoclose=False,
        max_msg_size=hub.settings.max_frame + 1,  # the library refuses from this size on
    )
    await socket.prepare(request)
    if request.transport is not None:
        session = Session(hub, socket, request.transport, request.query)
        if hub.closing:
            session.refuse(GOING_AWAY, CLOSING)
        elif not origins.allows(request, hub.settings.origins):
            session.refuse(FORBIDDEN, origins.refusal(request))
        await session.run()
    return socket
