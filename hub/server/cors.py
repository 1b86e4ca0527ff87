"""Which web pages may use the hub: CORS, and the check of `Origin`.

Owns the rule. A page of the hub's own host may use it, and so may a page on the list of `allowed_origins`, and, where
the hub serves this machine only, a page of any server of this machine. Any other page may not publish, open a
WebSocket, or read a reply. Programs that are no browsers send no Origin, and pass. Whose name the own host may have is
`hosts`'s business.
"""

from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from hub.protocol import Error
from hub.protocol.codec import encode
from hub.server.replies import Handler
from hub.settings import Settings, is_loopback

METHODS = "GET, POST, OPTIONS"


def allows(request: web.Request, settings: Settings) -> bool:
    """Whether the page that makes this request may use the hub."""
    origin = request.headers.get("Origin")
    if origin is None:
        return True
    origins = settings.origins
    if "*" in origins or origin in origins:
        return True
    try:
        parts = urlsplit(origin)
        # A proxy may have taken off the TLS, so only the host and port are compared.
        return parts.netloc == request.host or (settings.on_loopback and is_loopback(parts.hostname or ""))
    except ValueError:  # no address at all
        return False


def refusal(request: web.Request) -> Error:
    """The reply to a page that may not use the hub."""
    message = f"Pages of {request.headers.get('Origin', '')!r} may not use this hub."
    return Error("forbidden_origin", message, "The hub's operator can add the origin to HUB_ALLOWED_ORIGINS.")


def middleware(settings: Settings) -> Any:
    """A middleware that answers preflights, and refuses changes by a page that is not allowed."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        allowed = allows(request, settings)
        if not allowed and request.method not in ("GET", "HEAD"):
            body = encode(refusal(request)) + b"\n"
            return web.Response(body=body, status=403, content_type="application/json")
        if request.method == "OPTIONS":
            return web.Response(status=204, headers={"Allow": METHODS})
        return await handler(request)

    return check


def headers(settings: Settings) -> Any:
    """A signal handler that adds the CORS headers to every reply, streams too."""

    async def add(request: web.Request, response: web.StreamResponse) -> None:
        response.headers.add("Vary", "Origin")
        origin = request.headers.get("Origin")
        if origin is None or not allows(request, settings):
            return
        response.headers["Access-Control-Allow-Origin"] = "*" if "*" in settings.origins else origin
        response.headers["Access-Control-Expose-Headers"] = "Location"
        if request.method == "OPTIONS":
            response.headers["Access-Control-Allow-Methods"] = METHODS
            response.headers["Access-Control-Allow-Headers"] = "Content-Type, Last-Event-ID"
            response.headers["Access-Control-Max-Age"] = "86400"

    return add
