"""Compiles the Python that others have made for the browser, and of the standard library only what is needed.

Owns what counts as needed: whatever our own sources for the browser, PyScript's and Pyodide's
import, directly or not, and a margin. `slim.py` and `prepare.mjs` carry it out.
"""

import ast
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from make.fetch import WEB, Node, pyodide_info, run

ROOT = WEB.parent
TOOLS = (WEB / "build.py", WEB / "make")  # Python in `web` that is not for the browser
SHARED = ("__init__.py", "protocol/__init__.py", "client/__init__.py", "page/__init__.py")  # of hub, where they exist

NOT_THERE = "aiohttp"  # in the browser; nor is a module of ours that imports it

# What our sources import is found in them. This is what the standard library, Pyodide and msgspec import only when a
# certain function is called, and what PyScript's users expect to be there.
MARGIN = (
    *("_ast_unparse", "_strptime", "annotationlib", "ast", "base64", "bisect", "calendar", "copy", "decimal"),
    *("encodings.ascii", "encodings.latin_1", "encodings.utf_8_sig", "hashlib", "html", "json", "linecache", "logging"),
    *("msgspec._json_schema", "msgspec.inspect", "msgspec.json", "msgspec.structs"),
    *("pyodide.code", "pyodide.ffi.wrappers", "pyodide.http", "queue", "secrets", "string", "textwrap", "tokenize"),
    *("traceback", "unicodedata", "urllib.parse", "uuid", "weakref"),
)


OUTPUT = {"library": "stdlib.zip", "bundle": "bundle.bin", "listing": "bundle.json"}


class Library(NamedTuple):
    """The standard library as a zip; a bundle of other files, and as JSON their paths and lengths, in its order."""

    library: bytes
    bundle: bytes
    listing: bytes


def browser_sources() -> list[Path]:
    """The Python of ours that the browser runs: the page's, the shared modules, and what of `hub` they import."""
    waiting = [path for path in sorted(WEB.rglob("*.py")) if not {path, *path.parents} & {*TOOLS}]
    waiting += [ROOT / "hub" / name for name in SHARED]
    found: list[Path] = []
    while waiting:
        path = waiting.pop()
        if path.exists() and path not in found and NOT_THERE not in imports(path):
            found.append(path)
            modules = [ROOT / name.replace(".", "/") for name in imports(path) if name.startswith("hub.")]
            waiting += [each for name in modules for each in (name.with_suffix(".py"), name / "__init__.py")]
    return found


def own_sources() -> dict[str, str]:
    """The same as texts, by their paths in the browser: compiled here, and there those that are changed later."""
    places = {path: WEB if WEB in path.parents else ROOT for path in browser_sources()}
    return {path.relative_to(base).as_posix(): path.read_text("utf-8") for path, base in sorted(places.items())}


def imports(path: Path) -> set[str]:
    """What a source names in an import, wherever it stands; `from a import b` names a and perhaps a module a.b."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def roots() -> list[str]:
    """What our sources import, and the margin: enough to tell whether the library has to be made anew."""
    return sorted({*MARGIN, *(name for path in browser_sources() for name in imports(path))})


def pyscript_roots(packages: Path) -> set[str]:
    """What PyScript's own Python imports."""
    sources = (packages / "@pyscript/core/src/stdlib/pyscript").rglob("*.py")
    return {name for path in sources for name in imports(path)}


def compile_python(node: Node, packages: Path, wheels: Sequence[Path], work: Path) -> Library:
    """Everything of Python that the browser gets. Raises BuildError where Pyodide does not start with it."""
    output = {name: str(work / file) for name, file in OUTPUT.items()}
    job = {
        "pyodide": str(packages / "pyodide/pyodide.mjs"),
        "pyscript": str(packages / "@pyscript/core/src/stdlib/pyscript.js"),
        "script": str(WEB / "make/slim.py"),
        "own": own_sources(),
        "wheels": [str(wheel) for wheel in wheels],
        "roots": sorted({*roots(), *pyscript_roots(packages)}),
        "info": pyodide_info(packages),
        "output": output,
    }
    (work / "job.json").write_text(json.dumps(job))
    run([*node.node, WEB / "make/prepare.mjs", "python", work / "job.json"])
    return Library(**{name: Path(path).read_bytes() for name, path in output.items()})
