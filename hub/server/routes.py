"""The HTTP side: what each address answers.

Owns requests and replies: reading bodies, status codes, errors as JSON, or as a page for a person.
Who may ask at all is `origins`; the lives of streams are in `session` and `stream`; the HTML is in
`page`, the SQL in `store`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote

import msgspec
from aiohttp import web

from hub.errors import CommandError, Unavailable
from hub.page import html as page
from hub.page.assets import Assets
from hub.postgres.store import Draft
from hub.protocol import ALL, LOBBY, Ack, Cursor, Error, Limit, Name, Page, Publish, Rowid, Topic
from hub.protocol.codec import EXAMPLE, convert, decode_command, encode
from hub.server.context import Hub
from hub.server.cors import Handler
from hub.server.session import serve_socket
from hub.server.stream import serve_stream

HUB = web.AppKey("hub", Hub)
ASSETS = web.AppKey("assets", Assets)
PAGE_NOTES = page.PAGE_NOTES
NAME_COOKIE = "name"  # the writer's name, percent-encoded; the page's Python writes it too
YEAR = 365 * 24 * 3600
REQUIRED = ("username", "body")

routes = web.RouteTableDef()


def reply(content: Any, status: int = 200, **headers: str) -> web.Response:
    """A JSON response with what `content` encodes to."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    body = encode(content) + b"\n"
    return web.Response(body=body, status=status, content_type="application/json", charset="utf-8", headers=fields)


class Notes(msgspec.Struct, forbid_unknown_fields=True):
    """The query of ``GET /notes``."""

    topic: Name = LOBBY
    after: Cursor | None = None
    before: Rowid | None = None
    limit: Limit = PAGE_NOTES


class Where(msgspec.Struct):
    """The path of one note."""

    rowid: Rowid


class Place(msgspec.Struct):
    """The address of a page: its topic, and the rowid below which its notes end."""

    topic: Topic = LOBBY
    before: Rowid | None = None


class Refusal(NamedTuple):
    """What a form held that was refused, and why."""

    fields: Mapping[str, str]
    error: Error


@routes.get("/")
@routes.get("/t/{topic:.+}")
async def index(request: web.Request) -> web.Response:
    """The page of a topic, with the newest notes in its HTML."""
    given = dict(request.match_info) | {name: text for name, text in request.query.items() if name == "before"}
    place = convert(given, Place, "invalid_address", "The address of a topic is /t/NAME.")
    return await _page(request, place)


@routes.get("/t")
async def go(request: web.Request) -> web.StreamResponse:
    """From the name of a topic, as a form sends it, to its page."""
    given = {name: text for name, text in request.query.items() if name == "topic"}
    place = convert(given, Place, "invalid_address", "A topic has at least one visible character, and is not `*`.")
    raise web.HTTPSeeOther(page.path_of(place.topic))


async def _page(request: web.Request, place: Place, draft: Refusal | None = None) -> web.Response:
    """The page; with what a refused form held and why, or else with the writer's name."""
    given = draft.fields if draft else {"username": unquote(request.cookies.get(NAME_COOKIE, ""))}
    error, status = (draft.error, _status(draft.error)) if draft else (None, 200)
    view = page.View(place.topic, before=place.before)
    try:
        notes, seq = await request.app[HUB].store.notes([place.topic], PAGE_NOTES, place.before)
        view = page.View(place.topic, notes, seq, place.before)
    except Unavailable as unavailable:
        error, status = error or unavailable.error, 503
    return _html(page.render(request.app[ASSETS], view, given, error), status)


def _html(text: str, status: int = 200) -> web.Response:
    response = web.Response(text=text, status=status, content_type="text/html", headers=page.HEADERS)
    response.enable_compression()
    return response


def _wants_html(request: web.Request) -> bool:
    """Whether a person waits for the answer, in a browser."""
    return "text/html" in request.headers.get("Accept", "")


@routes.get("/ws")
async def websocket(request: web.Request) -> web.StreamResponse:
    """The WebSocket; a plain GET is told what to use instead."""
    if request.headers.get("Upgrade", "").lower() != "websocket":
        hint = "Connect a WebSocket client, as in: websocat 'ws://HOST/ws?last=10'. Over plain HTTP use /listen_notes."
        error = Error("upgrade_required", "This address speaks WebSocket only.", hint)
        return reply(error, 426, Upgrade="websocket", Connection="Upgrade")
    return await serve_socket(request.app[HUB], request)


@routes.get("/listen_notes", allow_head=False)
async def listen_notes(request: web.Request) -> web.StreamResponse:
    """The stream of notes over plain HTTP."""
    return await serve_stream(request.app[HUB], request)


@routes.get("/notes")
async def get_notes(request: web.Request) -> web.Response:
    """A page of notes."""
    hub = request.app[HUB]
    query = convert(
        dict(request.query),
        Notes,
        "invalid_address",
        "The address takes topic, before (a rowid) or after (a seq), and limit.",
    )
    if query.before is not None and query.after is not None:
        raise CommandError(Error("invalid_address", "`before` and `after` exclude each other.", "Give one of them."))
    topics = None if query.topic == ALL else [query.topic]
    notes, seq = await hub.store.notes(topics, query.limit, query.before, query.after)
    return reply(Page(notes, seq), Cache_Control="no-store")


@routes.get("/notes/{rowid}")
async def get_note(request: web.Request) -> web.Response:
    """One note."""
    where = convert(
        dict(request.match_info), Where, "invalid_address", "The rowid of a note is a whole number, as in /notes/7"
    )
    note = await request.app[HUB].store.get(where.rowid)
    if note is None:
        raise CommandError(Error("not_found", f"There is no note {where.rowid}.", "It may have been deleted."))
    return reply(note, Cache_Control="no-store")


@routes.post("/notes")
async def post_note(request: web.Request) -> web.StreamResponse:
    """Add a note: JSON, whatever its content type says, or a form."""
    hub = request.app[HUB]
    try:
        command = await _read_publish(request)
        draft = Draft(command.topic or LOBBY, command.username, command.body, key=command.key)
        placed = await hub.writer.publish(draft)
    except CommandError as error:
        if not _wants_html(request):
            raise
        return await _refused(request, error.error)
    if _wants_html(request):
        response = web.HTTPSeeOther(page.path_of(draft.topic))
        response.set_cookie(NAME_COOKIE, quote(draft.username, safe=""), max_age=YEAR, samesite="Lax")
        raise response
    location = f"/notes/{placed.rowid}"
    note = await hub.store.get(placed.rowid)
    # Somebody may have deleted it already; it was saved all the same.
    return reply(note or Ack(seq=placed.seq, rowid=placed.rowid), 201, Location=location)


async def _refused(request: web.Request, error: Error) -> web.Response:
    """The page again, with what was written still in its form."""
    given = dict(_fields(await request.read(), "replace"))
    try:
        place = convert({"topic": given.get("topic") or LOBBY}, Place)
    except CommandError:
        place = Place()
    return await _page(request, place, Refusal(given, error))


def _fields(body: bytes, errors: str = "strict") -> list[tuple[str, str]]:
    """The fields of a form. A browser sends the end of a line as two characters, and counts it as one."""
    pairs = parse_qsl(body.decode(errors=errors), keep_blank_values=True, errors=errors)
    return [(name, text.replace("\r\n", "\n")) for name, text in pairs]


async def _read_publish(request: web.Request) -> Publish:
    body = await request.read()
    # curl -d sends JSON under a form's content type, so the body itself decides.
    if request.content_type == "application/x-www-form-urlencoded" and body.lstrip()[:1] not in (b"{", b"["):
        try:
            fields = _fields(body)
        except UnicodeDecodeError as error:
            raise CommandError(Error("invalid_form", f"The form is no UTF-8: {error}.", f"Send {EXAMPLE}")) from error
        # A field of a form that was left empty is still sent; an optional one was not given then.
        return convert({name: text for name, text in fields if text or name in REQUIRED}, Publish)
    command = decode_command(body)
    if not isinstance(command, Publish):
        raise CommandError(Error("invalid_message", "Only a publish can be POSTed here.", f"Send {EXAMPLE}"))
    return command


STATUS = {"unavailable": 503, "shutting_down": 503, "refused": 422, "not_found": 404}
HINTS = {
    404: "The addresses are /, /t/{topic}, /ws, /notes, /notes/{rowid}, /listen_notes, /healthz, /readyz and /metrics.",
    413: "Send one note, as JSON or as a form.",
}


def _status(error: Error) -> int:
    return STATUS.get(error.code, 400)


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error with a code, a message and a hint: as JSON, or as a page for a person in a browser."""
    try:
        return await handler(request)
    except CommandError as error:
        return _problem(request, error.error, _status(error.error))
    except web.HTTPException as error:
        if error.status < 400:
            raise
        code = error.reason.lower().replace(" ", "_")
        allow = error.headers.get("Allow")
        hint = f"It takes {allow.replace(',', ', ')}." if allow else HINTS.get(error.status, "")
        content = Error(code, f"{request.method} {request.path}: {error.reason}", hint)
        return _problem(request, content, error.status, **({"Allow": allow} if allow else {}))


def _problem(request: web.Request, error: Error, status: int, **headers: str) -> web.Response:
    headers |= {"Retry_After": "1"} if status == 503 else {}
    if not _wants_html(request):
        return reply(error, status, **headers)
    response = _html(page.render_problem(request.app[ASSETS], error), status)
    response.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    return response
