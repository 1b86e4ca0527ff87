"""The page as the hub sends it: the newest notes are in its HTML, readable without any script.

Owns the HTML around the notes, the tags that start Python, and the headers that restrict what the page may do. It never
formats a note (`note_html`), serves a file (`assets`) or reads the database: its caller gives it the notes.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from string import Template
from typing import Final, NamedTuple
from urllib.parse import quote

from hub.page import note_html
from hub.page.assets import MAIN, PREPARED, PYTHON, Assets, Manifest
from hub.page.form import Field, fields, in_words, problem
from hub.protocol import LOBBY, MAX_LENGTH, Error, Note, Page
from hub.protocol.codec import encode
from hub.settings import WEB_DIR

PAGE_NOTES: Final = note_html.PAGE_NOTES
HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "script-src 'self' 'wasm-unsafe-eval'; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",  # with no-referrer, forms would send "Origin: null", which the hub refuses
    "X-Content-Type-Options": "nosniff",
}
# The page needs none of these plugins of PyScript; `!` turns one off.
PLUGINS: Final = ["!codemirror", "!deprecations-manager", "!donkey", "!py-editor", "!py-game", "!py-terminal"]
PLACEHOLDERS: Final = {"username": "Your name", "body": "Write a note…"}
STARTING: Final = "Starting…"
PAST: Final = "Times are UTC."
STILL: Final = "This page’s scripts were not built. Reload it for newer notes; times are UTC."
UNKNOWN: Final = "The notes can’t be shown just now."

_files = {name: (WEB_DIR / name).read_text("utf-8") for name in ("index.html", "problem.html")}
PAGE, PROBLEM = (Template(text) for text in _files.values())


class View(NamedTuple):
    """What a page shows: notes of a topic, in the order of their creation.

    The notes are current at log position `seq`; None means that they could not be read. `before` is the rowid below
    which a page of older notes ends. Such a page is never live; None means the newest notes.
    """

    topic: str
    notes: Sequence[Note] = ()
    seq: int | None = None
    before: int | None = None


def path_of(topic: str) -> str:
    """The path of the page of a topic."""
    return "/" if topic == LOBBY else "/t/" + quote(topic, safe="")


def render(assets: Assets, view: View, given: Mapping[str, str], error: Error | None = None) -> str:
    """The whole page, as HTML.

    `given` holds the values to put into the form, by the name of the field, and `error` is why the hub refused them.
    """
    manifest = assets.manifest if view.before is None else None
    found = note_html.rows(view.notes, UTC, datetime.now(UTC).date())
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
        status=_status(assets, view),
        size=manifest.size if manifest else 1,
        rows="\n".join([_edge(view), *(row.html for row in found), *_end(view)]),
        data=_data(view),
        fields="\n".join(
            _field(each, given.get(each.name, ""), wrong.get(each.name, "")) for each in fields().values()
        ),
        general=escape(in_words(error)) if error and not wrong else "",
    )


def render_problem(assets: Assets, error: Error) -> str:
    """A page that tells people what went wrong and what to do, as HTML."""
    return PROBLEM.substitute(message=escape(error.message), hint=escape(error.hint), style=assets.own("page.css"))


def _status(assets: Assets, view: View) -> str:
    """What the page says of itself until its Python does."""
    if view.before is not None:
        return PAST
    return STARTING if assets.manifest else STILL


def _head(assets: Assets, manifest: Manifest) -> Iterator[str]:
    """The tags that fetch all files at once, and start Python as soon as its files are there."""
    for each in manifest.preload:
        how = 'rel="modulepreload"' if each.kind == "module" else 'rel="preload" as="fetch" crossorigin'
        yield f'<link {how} href="{PREPARED}{each.path}">'
    yield f'<link rel="preload" as="fetch" crossorigin href="{assets.own(PYTHON)}" id="python">'
    yield f'<link rel="preload" as="fetch" crossorigin href="{assets.own(MAIN)}">'
    yield f'<script type="module" async src="{PREPARED}{manifest.entry["interpreter"]}"></script>'
    yield f'<script type="module" src="{PREPARED}{manifest.entry["start"]}"></script>'


def _start(assets: Assets, manifest: Manifest) -> str:
    """The tags that PyScript looks for. The first one stops it from loading plugins for MicroPython."""
    config = {
        "interpreter": PREPARED + manifest.entry["interpreter"],
        "plugins": PLUGINS,
    }
    return (
        f'<mpy-config type="json" hidden>{encode({"plugins": PLUGINS}).decode()}</mpy-config>\n'
        f'<script type="py" src="{assets.own(MAIN)}" config="{escape(encode(config).decode())}"></script>'
    )


def _edge(view: View) -> str:
    """The row above the oldest note: a link to older notes, or why there is none."""
    if view.seq is None:
        return note_html.edge(UNKNOWN)
    if len(view.notes) < PAGE_NOTES:
        return note_html.beginning(not view.notes)
    return note_html.older(view.notes[0].rowid)


def _end(view: View) -> Iterator[str]:
    """The row below a page of older notes: a link to the newest ones."""
    if view.before is not None:
        yield f'<li class="edge"><a href="{escape(path_of(view.topic))}">Newest notes</a></li>'


def _data(view: View) -> str:
    """The same notes as JSON, for Python. It has no `<`, so no text can end the script element around it."""
    data = encode(Page(list(view.notes), view.seq)) if view.seq is not None else b"null"
    return data.decode().replace("<", "\\u003c")


def _field(field: Field, value: str, wrong: str) -> str:
    """The HTML of one field: its label, its input, its counter and what is wrong with its value."""
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
