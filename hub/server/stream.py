"""The stream over plain HTTP: lines of JSON for ``curl -N``, server-sent events for ``EventSource``.

Owns the life of one ``GET /listen_notes``. It follows topics by the same subscriptions as a
WebSocket does and takes nothing from its client but the address.
"""

import asyncio
import time

import msgspec
from aiohttp import HttpVersion11, web

from hub.delivery.outgoing import Connection
from hub.errors import CommandError
from hub.protocol import Error
from hub.protocol.formats import chunk, ndjson, ndjson_chunk, sse, sse_chunk
from hub.server.context import Hub
from hub.server.stream_query import Query, parse_query

# A proxy such as nginx would otherwise collect a whole buffer before it passes anything on.
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff"}
HEARTBEATS = {ndjson: b"\n", sse: b": still here\n\n"}  # an empty line and a comment: readers skip both


class Stream(Connection):
    """An HTTP client that follows topics."""

    def __init__(self, transport: asyncio.Transport, heartbeat: bytes) -> None:
        super().__init__(transport, self._beat)
        self.ended = asyncio.Event()
        self._heartbeat = heartbeat

    async def _beat(self) -> None:
        self.write(self._heartbeat)
        # Nobody answers a heartbeat: whether it is taken tells as much as can be known.
        self.heard_at, self.pinged_at = time.monotonic(), None

    async def end(self, code: int, reason: str) -> None:
        """Finish the body; HTTP has no close code."""
        self.ended.set()
        if self.buffered():
            self.abort()


async def serve_stream(hub: Hub, request: web.Request) -> web.StreamResponse:
    """Stream notes until the client or the hub goes. Raises CommandError for a bad address."""
    wants_sse = "text/event-stream" in request.headers.get("Accept", "")
    query = _query(request, hub.settings.max_topics)
    kind = sse if wants_sse else ndjson
    response = web.StreamResponse(headers=HEADERS)
    response.content_type = "text/event-stream" if wants_sse else "application/x-ndjson"
    response.charset = "utf-8"
    format, heartbeat = kind, HEARTBEATS[kind]
    if request.version >= HttpVersion11:
        response.enable_chunked_encoding()
        format, heartbeat = {sse: sse_chunk, ndjson: ndjson_chunk}[kind], chunk(heartbeat)
    await response.prepare(request)
    await hub.listener.ready.wait()
    if request.transport is None or hub.closing:
        return response
    stream = Stream(request.transport, heartbeat)
    subscription = hub.subscription(stream, format)
    hub.connections.add(stream)
    try:
        welcome = hub.welcome(query.topics)
        # A client that is still owed something is not where the hub is: if it is cut off now, it must ask again.
        begins_now = query.after is None and query.last is None
        subscription.tell(welcome, welcome.seq if begins_now else None)
        subscription.open(query.topics, query.after, query.last)
        await stream.ended.wait()
    finally:
        subscription.close()
        hub.connections.discard(stream)
    return response


def _query(request: web.Request, max_topics: int) -> Query:
    query = parse_query(request.query, max_topics)
    if query.username is not None or query.format != "json":
        raise CommandError(
            Error(
                "invalid_address",
                "`username` and `format` are for /ws only.",
                "Leave them out; notes are sent by POST /notes.",
            )
        )
    # What a reconnecting EventSource saw last is newer than what its address says.
    last_event = request.headers.get("Last-Event-ID", "").strip()
    if last_event.isascii() and last_event.isdigit() and len(last_event) <= 16:  # as long as a seq can be
        query = msgspec.structs.replace(query, after=int(last_event))
    return query
