"""The life of one HTTP stream: lines of JSON for ``curl -N``, server-sent events for ``EventSource``.

Owns ``GET /listen_notes`` from its headers to its end. A stream follows topics by the same subscription as a WebSocket,
and takes nothing from its client but the address.
"""

import msgspec
from aiohttp import HttpVersion11, web

from hub import process
from hub.delivery.outgoing import Framing, Outgoing
from hub.errors import CommandError
from hub.protocol import Error, Status
from hub.protocol.formats import Format, chunk, ndjson, ndjson_chunk, sse, sse_chunk
from hub.server.context import CONTEXT
from hub.server.stream_query import Query, parse_query

# Without X-Accel-Buffering a proxy such as nginx would collect a whole buffer before it passes anything on.
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff"}
HEARTBEATS: dict[Format, bytes] = {ndjson: b"\n", sse: b": still here\n\n"}  # readers skip an empty line and a comment
CHUNKED: dict[Format, Format] = {ndjson: ndjson_chunk, sse: sse_chunk}
SEQ_DIGITS = 16  # at most, of a seq


async def serve_stream(request: web.Request) -> web.StreamResponse:
    """Stream notes until the client or the hub goes. Raises CommandError for a bad address."""
    context = request.app[CONTEXT]
    wants_sse = "text/event-stream" in request.headers.get("Accept", "")
    query = _query(request, context.settings.max_topics)
    format: Format = sse if wants_sse else ndjson
    heartbeat = HEARTBEATS[format]
    response = web.StreamResponse(headers=HEADERS)
    response.content_type = "text/event-stream" if wants_sse else "application/x-ndjson"
    response.charset = "utf-8"
    if request.version >= HttpVersion11:
        response.enable_chunked_encoding()
        format, heartbeat = CHUNKED[format], chunk(heartbeat)
    await response.prepare(request)
    if request.transport is None or context.closing:
        return response
    framing = Framing(heartbeat, is_answered=False, close=None)
    outgoing = Outgoing(request.transport, framing, context.settings.high_water)
    subscription = context.subscription(outgoing, format)
    context.connections.add(outgoing)
    try:
        if not context.listener.ready.is_set():
            subscription.tell(Status(False))
            await process.until(outgoing.done, context.listener.ready.wait())
        welcome = context.welcome(query.topics)
        # A client that is owed something has no position yet: if it is cut off now, it must ask for the same again.
        begins_now = query.after is None and query.last is None
        subscription.tell(welcome, welcome.seq if begins_now else None)
        subscription.open(query.topics, query.after, query.last)
        await outgoing.done.wait()
    finally:
        subscription.close()
        context.connections.discard(outgoing)
        outgoing.release()
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
    # What a reconnecting EventSource has seen is newer than what its address says.
    last_event = request.headers.get("Last-Event-ID", "").strip()
    if last_event.isascii() and last_event.isdigit() and len(last_event) <= SEQ_DIGITS:
        query = msgspec.structs.replace(query, after=int(last_event))
    return query
