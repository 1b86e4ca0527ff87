"""Replies over HTTP: JSON, pages for people, and errors as either.

Owns status codes and the headers of replies. What the pages look like is `hub.page`'s business.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from hub.errors import CommandError
from hub.page import html
from hub.page.assets import Assets
from hub.protocol import Error
from hub.protocol.codec import encode

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

ASSETS = web.AppKey("assets", Assets)
STATUS = {"unavailable": 503, "shutting_down": 503, "refused": 422, "not_found": 404}
HINTS = {
    404: "The addresses are /, /t/{topic}, /ws, /notes, /notes/{rowid}, /listen_notes, /healthz, /readyz and /metrics.",
    413: "Send one note, as JSON or as a form.",
}


def reply(content: Any, status: int = 200, **headers: str) -> web.Response:
    """A JSON response; `_` in the name of a header stands for `-`."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    body = encode(content) + b"\n"
    return web.Response(body=body, status=status, content_type="application/json", charset="utf-8", headers=fields)


def page_reply(text: str, status: int = 200) -> web.Response:
    """A page, with the headers that every page has."""
    response = web.Response(text=text, status=status, content_type="text/html", headers=html.HEADERS)
    response.enable_compression()
    return response


def wants_html(request: web.Request) -> bool:
    """Whether a person in a browser waits for the answer."""
    return "text/html" in request.headers.get("Accept", "")


def status_of(error: Error) -> int:
    """The HTTP status of an error."""
    return STATUS.get(error.code, 400)


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every error with a code, a message and a hint: as JSON, or as a page for a person in a browser."""
    try:
        return await handler(request)
    except CommandError as error:
        return _problem(request, error.error, status_of(error.error))
    except web.RequestPayloadError as error:
        reason = " ".join(str(error.__cause__ or error).split())
        hint = "Send the body as its Content-Encoding and Transfer-Encoding say, or without either."
        return _problem(request, Error("invalid_body", f"The body can't be decoded: {reason}", hint), 400)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return of_http(request, error)


def of_http(request: web.Request, error: web.HTTPException) -> web.Response:
    """The answer for an error of aiohttp's."""
    code = error.reason.lower().replace(" ", "_")
    allow = error.headers.get("Allow")
    hint = f"It takes {allow.replace(',', ', ')}." if allow else HINTS.get(error.status, "")
    content = Error(code, f"{request.method} {request.path}: {error.reason}", hint)
    return _problem(request, content, error.status, **({"Allow": allow} if allow else {}))


def _problem(request: web.Request, error: Error, status: int, **headers: str) -> web.Response:
    headers |= {"Retry_After": "1"} if status == 503 else {}
    if not wants_html(request):
        return reply(error, status, **headers)
    response = page_reply(html.render_problem(request.app[ASSETS], error), status)
    response.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    return response
