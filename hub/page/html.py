"""The page as the hub sends it: the newest notes are in its HTML, readable without any script.

Owns the HTML around the rows, what starts Python in it, and the headers that fence it in. How a note
looks is `rows`; what the page fetches afterwards is `assets`.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from string import Template
from typing import Final, NamedTuple
from urllib.parse import quote

from hub.page import note_html as rows
from hub.page.assets import MAIN, PREPARED, PYTHON, Assets, Manifest
from hub.page.form import Field, fields, in_words, problem
from hub.protocol import LOBBY, MAX_LENGTH, Error, Note, Page
from hub.protocol.codec import encode
from hub.settings import WEB_DIR

PAGE_NOTES: Final = 50
HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "script-src 'self' 'wasm-unsafe-eval'; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
# PyScript would load these for nothing.
PLUGINS: Final = ["!codemirror", "!deprecations-manager", "!donkey", "!py-editor", "!py-game", "!py-terminal"]
PLACEHOLDERS: Final = {"username": "Your name", "body": "Write a note…"}
STILL: Final = "Times are UTC. Reload for newer notes."
PAST: Final = "Times are UTC"
EMPTY: Final = "No notes yet. Write the first one."
UNKNOWN: Final = "The notes can’t be shown just now."

_files = {name: (WEB_DIR / name).read_text("utf-8") for name in ("index.html", "problem.html")}
PAGE, PROBLEM = (Template(text) for text in _files.values())


class View(NamedTuple):
    """What a page shows: notes in the order of their creation, current at `seq`; None: they could not be read."""

    topic: str
    notes: Sequence[Note] = ()
    seq: int | None = None
    before: int | None = None  # the notes end below this rowid: a page of the past, which stays as it is


def path_of(topic: str) -> str:
    """Where the page of a topic is."""
    return "/" if topic == LOBBY else "/t/" + quote(topic, safe="")


def render(assets: Assets, view: View, given: Mapping[str, str], error: Error | None = None) -> str:
    """The whole page. `given` is what the form's fields hold already, `error` why they were refused."""
    manifest = assets.manifest if view.before is None else None
    found = rows.rows(view.notes, UTC, datetime.now(UTC).date())
    wrong = {}
    if error and error.code == "invalid_message":
        wrong = {name: in_words(each) for name in fields() if (each := problem(name, given.get(name, "")))}
    return PAGE.substitute(
        topic=escape(view.topic),
        topic_length=MAX_LENGTH,
        home=escape(path_of(view.topic)),
        style=assets.own("page.css"),
        icon=assets.own("icon.svg"),
        head="\n".join(_head(assets, manifest)) if manifest else "",
        start=_start(assets, manifest) if manifest else "",
        state="starting" if manifest else "still",
        status="Starting…"
        if manifest
        else "Times are UTC. Reload for newer notes."
        if view.before is None
        else "Times are UTC",
        size=manifest.size if manifest else 1,
        rows="\n".join([_edge(view), *(row.html for row in found), *_end(view)]),
        data=_data(view),
        fields="\n".join(
            _field(each, given.get(each.name, ""), wrong.get(each.name, "")) for each in fields().values()
        ),
        general=escape(in_words(error)) if error and not wrong else "",
    )


def render_problem(assets: Assets, error: Error) -> str:
    """A page that says what went wrong, for people."""
    return PROBLEM.substitute(message=escape(error.message), hint=escape(error.hint), style=assets.own("page.css"))


def _head(assets: Assets, manifest: Manifest) -> Iterator[str]:
    """The tags that fetch everything at once, and start Python as soon as it is there."""
    for each in manifest.preload:
        how = 'rel="modulepreload"' if each.kind == "module" else 'rel="preload" as="fetch" crossorigin'
        yield f'<link {how} href="{PREPARED}{each.path}">'
    yield f'<link rel="preload" as="fetch" crossorigin href="{assets.own(PYTHON)}" id="python">'
    yield f'<link rel="preload" as="fetch" crossorigin href="{assets.own(MAIN)}">'
    yield f'<script type="module" async src="{PREPARED}{manifest.entry["interpreter"]}"></script>'
    yield f'<script type="module" src="{PREPARED}{manifest.entry["start"]}"></script>'


def _start(assets: Assets, manifest: Manifest) -> str:
    """The tags that PyScript looks for; the first one keeps it from loading plugins for MicroPython."""
    config = {
        "interpreter": PREPARED + manifest.entry["interpreter"],
        "plugins": PLUGINS,
    }
    return (
        f'<mpy-config type="json" hidden>{encode({"plugins": PLUGINS}).decode()}</mpy-config>\n'
        f'<script type="py" src="{assets.own(MAIN)}" config="{escape(encode(config).decode())}"></script>'
    )


def _edge(view: View) -> str:
    """The row above the oldest note: the way to older ones."""
    if view.seq is None:
        return f'<li id="edge" class="edge">{UNKNOWN}</li>'
    if not view.notes:
        return f'<li id="edge" class="edge empty">{EMPTY}</li>'
    if len(view.notes) < PAGE_NOTES:
        return '<li id="edge" class="edge">This is where it begins.</li>'
    return f'<li id="edge" class="edge"><a id="older" href="?before={view.notes[0].rowid}">Older notes</a></li>'


def _end(view: View) -> Iterator[str]:
    if view.before is not None:
        yield f'<li class="edge"><a href="{escape(path_of(view.topic))}">Newest notes</a></li>'


def _data(view: View) -> str:
    """The same notes for Python; JSON in which no tag can end."""
    data = encode(Page(list(view.notes), view.seq)) if view.seq is not None else b"null"
    return data.decode().replace("<", "\\u003c")


def _field(field: Field, value: str, wrong: str) -> str:
    """A field as its struct describes it."""
    name, most = field.name, field.most
    attributes = f'id="{name}" name="{name}" maxlength="{most}" aria-describedby="{name}-problem {name}-count"'
    attributes += f' placeholder="{PLACEHOLDERS[name]}"'
    attributes += " required" * field.required + ' aria-invalid="true"' * bool(wrong)
    if name == "body":
        box = f'<textarea {attributes} rows="1" autofocus dir="auto" enterkeyhint="send">\n{escape(value)}</textarea>'
    else:
        box = f'<input {attributes} value="{escape(value)}" autocomplete="nickname" dir="auto">'
    return (
        f'<div class="field {name}"><label for="{name}">{escape(field.label)}</label>{box}'
        f'<span id="{name}-count" class="count"></span>'
        f'<p id="{name}-problem" class="problem" role="alert">{escape(wrong)}</p></div>'
    )
