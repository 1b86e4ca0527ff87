"""The addresses of notes: ``/notes`` and ``/notes/{rowid}``.

Owns how a note is read from a request, as JSON or as a form, and how notes are returned.
"""

from typing import Final
from urllib.parse import parse_qsl, quote

import msgspec
from aiohttp import web

from hub.errors import CommandError
from hub.feed.ports import Draft
from hub.page import html
from hub.protocol import ALL, LOBBY, Ack, Error, Limit, Name, Page, Publish, Rowid, Seq
from hub.protocol.codec import convert
from hub.protocol.mistakes import EXAMPLE
from hub.server import commands
from hub.server.context import CONTEXT
from hub.server.pages import NAME_COOKIE, PageQuery, Refusal, page_of
from hub.server.replies import reply, wants_html
from hub.server.stream_query import once

YEAR: Final = 365 * 24 * 3600  # seconds
REQUIRED: Final = ("username", "body")


class NotesQuery(msgspec.Struct, forbid_unknown_fields=True):
    """The query of ``GET /notes``."""

    topic: Name = LOBBY
    after: Seq | None = None
    before: Rowid | None = None
    limit: Limit = html.PAGE_NOTES


class NotePath(msgspec.Struct):
    """The path of one note."""

    rowid: Rowid


async def get_notes(request: web.Request) -> web.Response:
    """A page of notes."""
    hint = "The address takes topic, before (a rowid) or after (a seq), and limit."
    query = convert(once(request.query.items()), NotesQuery, "invalid_address", hint)
    if query.before is not None and query.after is not None:
        raise CommandError(Error("invalid_address", "`before` and `after` exclude each other.", "Give one of them."))
    topics = None if query.topic == ALL else [query.topic]
    notes, seq = await request.app[CONTEXT].store.notes(topics, query.limit, query.before, query.after)
    return reply(Page(notes, seq), Cache_Control="no-store")


async def get_note(request: web.Request) -> web.Response:
    """One note."""
    hint = "The rowid of a note is a whole number, as in /notes/7"
    path = convert(dict(request.match_info), NotePath, "invalid_address", hint)
    note = await request.app[CONTEXT].store.get(path.rowid)
    if note is None:
        raise CommandError(Error("not_found", f"There is no note {path.rowid}.", "It may have been deleted."))
    return reply(note, Cache_Control="no-store")


async def post_note(request: web.Request) -> web.StreamResponse:
    """Add a note: JSON, whatever its content type says, or a form."""
    context = request.app[CONTEXT]
    try:
        command = await _read_publish(request)
        draft = Draft(command.topic or LOBBY, command.username, command.body, key=command.key)
        placed = await context.writer.publish(draft)
    except CommandError as error:
        if not wants_html(request):
            raise
        return await _refused(request, error.error)
    if wants_html(request):
        response = web.HTTPSeeOther(html.path_of(draft.topic))
        response.set_cookie(NAME_COOKIE, quote(draft.username, safe=""), max_age=YEAR, samesite="Lax")
        raise response
    note = await context.store.get(placed.rowid)
    # Somebody may have deleted it already; it was saved all the same.
    return reply(note or Ack(seq=placed.seq, rowid=placed.rowid), 201, Location=f"/notes/{placed.rowid}")


async def _refused(request: web.Request, error: Error) -> web.Response:
    """The page again, with what was written still in its form."""
    given = dict(_fields(await request.read(), "replace"))
    try:
        query = convert({"topic": given.get("topic") or LOBBY}, PageQuery)
    except CommandError:
        query = PageQuery()
    return await page_of(request, query, Refusal(given, error))


async def _read_publish(request: web.Request) -> Publish:
    body = await request.read()
    # curl -d sends JSON under a form's content type, so the body itself decides.
    if request.content_type == "application/x-www-form-urlencoded" and body.lstrip()[:1] not in (b"{", b"["):
        try:
            fields = _fields(body)
        except UnicodeDecodeError as error:
            raise CommandError(Error("invalid_form", f"The form is no UTF-8: {error}.", f"Send {EXAMPLE}")) from error
        # A browser sends a field that was left empty; an optional one was not given then.
        return convert({name: text for name, text in fields if text or name in REQUIRED}, Publish)
    command = commands.decode(body)
    if not isinstance(command, Publish):
        raise CommandError(Error("invalid_message", "Only a publish can be POSTed here.", f"Send {EXAMPLE}"))
    return command


def _fields(body: bytes, errors: str = "strict") -> list[tuple[str, str]]:
    """The fields of a form. A browser sends a line's end as two characters, and counts it as one."""
    pairs = parse_qsl(body.decode(errors=errors), keep_blank_values=True, errors=errors)
    return [(name, text.replace("\r\n", "\n")) for name, text in pairs]
