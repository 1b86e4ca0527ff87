"""Which address is answered by which function.

Owns the table of addresses, but for those of the page's files (`hub.page.assets`).
"""

from aiohttp import web

from hub.protocol import Error
from hub.server import health, notes, pages
from hub.server.replies import reply
from hub.server.session import serve_socket
from hub.server.stream import serve_stream


async def websocket(request: web.Request) -> web.StreamResponse:
    """The WebSocket; a plain GET is told what to use instead."""
    if request.headers.get("Upgrade", "").lower() != "websocket":
        hint = "Connect a WebSocket client, as in: websocat 'ws://HOST/ws?last=10'. Over plain HTTP use /listen_notes."
        error = Error("upgrade_required", "This address speaks WebSocket only.", hint)
        return reply(error, 426, Upgrade="websocket", Connection="Upgrade")
    return await serve_socket(request)


ROUTES = [
    web.get("/", pages.index),
    web.get("/t", pages.go),
    web.get("/t/{topic:.+}", pages.index),
    web.get("/ws", websocket),
    web.get("/listen_notes", serve_stream, allow_head=False),
    web.get("/notes", notes.get_notes),
    web.post("/notes", notes.post_note),
    web.get("/notes/{rowid}", notes.get_note),
    web.get("/healthz", health.healthz),
    web.get("/readyz", health.readyz),
    web.get("/metrics", health.get_metrics),
]
