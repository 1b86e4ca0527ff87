"""The files behind the page: prepared assets, our own style, and our own Python.

Owns which files a browser may fetch, and the address of each. An address contains a hash of the content, so browsers
may keep the file for ever (RFC 8246). ``/assets`` serves the files that `web/build.py` lists in its manifest, and
``/page`` serves our own files, which are read once when the hub starts. It never serves a file that is not listed.
"""

import gzip
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from aiohttp import web

from hub.settings import PACKAGE, WEB_DIR

PREPARED: Final = "/assets/"
OWN_PREFIX: Final = "/page/"
HEADERS: Final = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "Vary": "Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
}
TYPES: Final = {
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".wasm": "application/wasm",
    ".zip": "application/zip",
    ".bin": "application/octet-stream",
    ".py": "text/x-python; charset=utf-8",
    ".json": "application/json",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
# The modules of the hub's package that the browser runs too; it gets no others.
SHARED: Final = (
    "__init__",
    "backoff",
    "errors",
    "protocol/__init__",
    "protocol/codes",
    "protocol/messages",
    "protocol/mistakes",
    "protocol/codec",
    "client/__init__",
    "client/events",
    "client/state",
    "page/__init__",
    "page/note_html",
    "page/form",
)
MAIN: Final = "chat/main.py"
PYTHON: Final = "python.json"  # all Python of the page in one JSON object: path → source text


class Preload(msgspec.Struct, frozen=True, rename={"kind": "as"}):
    """A file to fetch while the browser reads the page. `kind` is how it is fetched: `module` or `fetch`."""

    path: str
    kind: str


class Manifest(msgspec.Struct, frozen=True):
    """The list of the prepared assets. `web/build.py` writes it and describes its fields."""

    entry: dict[str, str]
    preload: list[Preload]
    files: dict[str, dict[str, int]]

    @property
    def size(self) -> int:
        """The bytes that a first visit fetches, in a browser that takes brotli."""
        return sum(each["br"] for each in self.files.values())


class File(NamedTuple):
    """One of our own files, as it is and compressed with gzip."""

    data: bytes
    small: bytes


class Assets:
    """The files of the page, found once in `folder`.

    Without prepared assets `manifest` is None, and the page works without Python.
    """

    def __init__(self, folder: Path = WEB_DIR) -> None:
        self._dist = folder / "dist"
        self.manifest = _manifest(self._dist)
        self._own = {path: File(data, gzip.compress(data, 9, mtime=0)) for path, data in _own_files(folder).items()}
        self.base = OWN_PREFIX + _digest({path: file.data for path, file in self._own.items()}) + "/"

    def own(self, path: str) -> str:
        """The address of one of our own files, such as ``page.css``."""
        return self.base + path

    def routes(self) -> list[web.RouteDef]:
        """The routes that serve the files."""
        return [
            web.get(PREPARED + "{path:.+}", self._serve_prepared),
            web.get(self.base + "{path:.+}", self._serve_own),
        ]

    async def _serve_prepared(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        if self.manifest is None or path not in self.manifest.files:
            raise web.HTTPNotFound
        # FileResponse sends the .br or .gz file beside it if the browser accepts that.
        return web.FileResponse(self._dist / path, headers={**HEADERS, "Content-Type": _content_type(path)})

    async def _serve_own(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        if (file := self._own.get(path)) is None:
            raise web.HTTPNotFound
        headers = {**HEADERS, "Content-Type": _content_type(path)}
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            return web.Response(body=file.small, headers={**headers, "Content-Encoding": "gzip"})
        return web.Response(body=file.data, headers=headers)


def _content_type(path: str) -> str:
    return TYPES[Path(path).suffix]


def _manifest(folder: Path) -> Manifest | None:
    try:
        return msgspec.json.decode((folder / "manifest.json").read_bytes(), type=Manifest)
    except FileNotFoundError:
        return None


def _own_files(folder: Path) -> dict[str, bytes]:
    found = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix in (".css", ".svg")}
    python = {f"hub/{name}.py": PACKAGE / f"{name}.py" for name in SHARED}
    python |= {f"chat/{path.name}": path for path in sorted((folder / "chat").glob("*.py"))}
    sources = {path: where.read_text("utf-8") for path, where in python.items()}
    return {**found, MAIN: sources[MAIN].encode(), PYTHON: msgspec.json.encode(sources)}


def _digest(files: Mapping[str, bytes]) -> str:
    total = hashlib.sha256()
    for path, data in sorted(files.items()):
        total.update(hashlib.sha256(path.encode() + b"\0" + data).digest())
    return total.hexdigest()[:12]
