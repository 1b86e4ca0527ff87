"""The life of one WebSocket, from the welcome to the close.

Owns the dialogue with one client: what it sends is decoded, carried out by `commands`, and answered in order.
"""

import asyncio
import itertools
from collections.abc import Mapping

import msgspec
from aiohttp import WSMsgType, web

from hub.delivery.outgoing import WEBSOCKET, Outgoing
from hub.errors import CommandError
from hub.feed.writer import CLOSING
from hub.protocol import BAD_REQUEST, FORBIDDEN, GOING_AWAY, PROTOCOL, Error, Publish, Status
from hub.protocol.codec import convert
from hub.protocol.formats import Format, json_frame, text_frame
from hub.protocol.frames import pong_frame
from hub.protocol.mistakes import explain
from hub.server import commands, cors
from hub.server.context import CONTEXT, Context
from hub.server.peer import Peer
from hub.server.stream_query import Query, parse_query

TEXT_PROTOCOL = "text." + PROTOCOL
ENDS = (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR)
TURN = 50  # messages of one client after which others have their turn: a flood must not hold up everybody's answers
MAX_IN_FLIGHT = 10_000  # notes of one client that wait for their acks; then its next commands wait
DRAIN_POLL = 0.02  # seconds between looks at what a client still waits for


class Session:
    """A WebSocket client. `parameters` are those of its address."""

    __slots__ = ("_context", "_is_text", "_parameters", "_peer", "_query", "_socket", "outgoing")

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

    async def run(self) -> None:
        """Hold the whole dialogue; return when the connection has ended."""
        self._context.connections.add(self.outgoing)
        try:
            if not self.outgoing.closed:
                await self._begin()
            await self._receive()
        finally:
            self._context.connections.discard(self.outgoing)
            self._peer.subscription.close()
            self.outgoing.release()

    def refuse(self, code: int, error: Error) -> None:
        """Say why this connection cannot be, and close it."""
        self._peer.reply(error)
        self.outgoing.close(code, error.code)

    async def _begin(self) -> None:
        try:
            self._query = parse_query(self._parameters, self._context.settings.max_topics)
        except CommandError as error:
            self.refuse(BAD_REQUEST, error.error)
        else:
            self._peer.home = self._query.home
            await self._welcome()

    async def _welcome(self) -> None:
        context, peer, query = self._context, self._peer, self._query
        if not context.listener.ready.is_set():
            peer.reply(Status(False))
            await context.listener.ready.wait()
        if not self.outgoing.closed and not self.outgoing.gone:
            peer.reply(context.welcome(query.topics))
            self.outgoing.flush()
            peer.subscription.open(query.topics, query.after, query.last)

    async def _receive(self) -> None:
        for number in itertools.count(1):
            if number % TURN == 0:
                await asyncio.sleep(0)
            message = await self._socket.receive()
            self.outgoing.heard()
            if message.type in ENDS:
                return
            if self.outgoing.closed:
                continue
            if message.type is WSMsgType.TEXT:
                await self._on_text(message.data)
            elif message.type is WSMsgType.BINARY:
                hint = "Send text frames; with websocat, leave out --binary."
                self._peer.reply(Error("binary", "Expected a text frame, got a binary one.", hint))
            elif message.type is WSMsgType.PING:
                self.outgoing.write(pong_frame(message.data))

    async def _on_text(self, data: bytes) -> None:
        try:
            command: msgspec.Struct = self._from_line(data) if self._is_text else commands.decode(data)
        except CommandError as error:
            self._peer.reply(error.error)
            return
        await commands.carry_out(self._peer, command)
        # A client that does not read its replies, or publishes faster than is written, is not read either.
        while self._peer.in_flight >= MAX_IN_FLIGHT or self.outgoing.is_slow:
            await asyncio.sleep(DRAIN_POLL)

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
    socket = web.WebSocketResponse(
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
        elif not cors.allows(request, context.settings.origins):
            session.refuse(FORBIDDEN, cors.refusal(request))
        await session.run()
    return socket
