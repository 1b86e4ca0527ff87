"""The topics that were visited in this browser, as links.

Owns that short list. It never asks the hub which topics there are, or who may read them.
"""

from collections.abc import MutableMapping
from html import escape
from typing import Any
from urllib.parse import quote

import msgspec
from js import document

from chat.browser import element, on

NAME = "topics"
MOST = 8  # topics that are remembered


def visit(store: MutableMapping[str, str], topic: str) -> list[str]:
    """Remember a topic in `store`. Returns the topics that were visited, the latest first."""
    try:
        before = msgspec.json.decode(store.get(NAME, "[]"), type=list[str])
    except msgspec.DecodeError:
        before = []
    visited = [topic, *(each for each in before if each != topic)][:MOST]
    store[NAME] = msgspec.json.encode(visited).decode()
    return visited


def show(visited: list[str], lobby: str) -> None:
    """Show links to the visited topics but the present one, and to the lobby."""
    others = [*visited[1:], *([] if lobby in visited else [lobby])]
    links = (f'<li><a href="/t/{quote(each, safe="")}" dir="auto">{escape(each)}</a></li>' for each in others)
    element("visited").innerHTML = "".join(links)
    element("visited").hidden = not others
    on(document, "click", _clicked)
    on(document, "keydown", _pressed)


def _clicked(event: Any) -> None:
    """Close the list after a click elsewhere."""
    if not element("topics").contains(event.target):
        element("topics").open = False


def _pressed(event: Any) -> None:
    """Close the list at Escape."""
    if event.key == "Escape" and element("topics").open:
        element("topics").open = False
        element("topics").querySelector("summary").focus()
