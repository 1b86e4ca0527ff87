"""The addresses of pages: ``/``, ``/t/{topic}`` and ``/t``.

Owns what their addresses may hold, and the page that a refused form comes back to. The HTML is `hub.page`'s business.
"""

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote

import msgspec
from aiohttp import web

from hub.errors import Unavailable
from hub.page import html
from hub.protocol import LOBBY, Error, Rowid, Topic
from hub.protocol.codec import convert
from hub.server.context import CONTEXT
from hub.server.replies import ASSETS, page_reply, status_of
from hub.server.stream_query import once

NAME_COOKIE = "name"  # the writer's name, percent-encoded; the page's Python writes it too


class PageQuery(msgspec.Struct):
    """The address of a page: its topic, and the rowid below which its notes end."""

    topic: Topic = LOBBY
    before: Rowid | None = None


class Refusal(NamedTuple):
    """A form that was refused: what it held, and why."""

    fields: Mapping[str, str]
    error: Error


async def index(request: web.Request) -> web.Response:
    """The page of a topic, with the newest notes in its HTML."""
    given = dict(request.match_info) | once(each for each in request.query.items() if each[0] == "before")
    query = convert(given, PageQuery, "invalid_address", "The address of a topic is /t/NAME.")
    return await page_of(request, query)


async def go(request: web.Request) -> web.StreamResponse:
    """Redirect to the page of the topic that a form names."""
    given = once(each for each in request.query.items() if each[0] == "topic")
    hint = "A topic has at least one visible character, and is not `*`."
    raise web.HTTPSeeOther(html.path_of(convert(given, PageQuery, "invalid_address", hint).topic))


async def page_of(request: web.Request, query: PageQuery, refusal: Refusal | None = None) -> web.Response:
    """The page of a topic. Its form holds what was refused and why, or else the writer's name."""
    given = refusal.fields if refusal else {"username": unquote(request.cookies.get(NAME_COOKIE, ""))}
    error, status = (refusal.error, status_of(refusal.error)) if refusal else (None, 200)
    view = html.View(query.topic, before=query.before)
    try:
        notes, seq = await request.app[CONTEXT].store.notes([query.topic], html.PAGE_NOTES, query.before)
        view = html.View(query.topic, notes, seq, query.before)
    except Unavailable as unavailable:
        error, status = error or unavailable.error, 503
    return page_reply(html.render(request.app[ASSETS], view, given, error), status)
