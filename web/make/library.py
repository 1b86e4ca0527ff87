"""Compiles Python for the browser: all that others have made, and of the standard library only what is needed.

Owns the rule of what is needed: the modules that our own sources for the browser, PyScript and Pyodide import, directly
or not, and a margin. It never compiles anything itself: `prepare.mjs` runs `slim.py` in Pyodide.
"""

import ast
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from make.fetch import WEB, Node, pyodide_info, run

ROOT = WEB.parent
TOOLS = (WEB / "build.py", WEB / "make")  # Python in `web` that the browser does not run

NOT_THERE = "aiohttp"  # the browser has no aiohttp, so it does not get a module of ours that imports it

# Imports in our sources are found by reading them. The margin is what the standard library, Pyodide and msgspec import
# only when certain functions are called, and what users of PyScript expect to find.
MARGIN = (
    *("_ast_unparse", "_strptime", "annotationlib", "ast", "base64", "bisect", "calendar", "copy", "decimal"),
    *("encodings.ascii", "encodings.latin_1", "encodings.utf_8_sig", "hashlib", "html", "json", "linecache", "logging"),
    *("msgspec._json_schema", "msgspec.inspect", "msgspec.json", "msgspec.structs"),
    *("pyodide.code", "pyodide.ffi.wrappers", "pyodide.http", "queue", "secrets", "string", "textwrap", "tokenize"),
    *("traceback", "unicodedata", "urllib.parse", "uuid", "weakref"),
)


OUTPUT = {"library": "stdlib.zip", "bundle": "bundle.bin", "listing": "bundle.json"}


class Library(NamedTuple):
    """The Python that the browser gets.

    `library` is the standard library as a zip, and `bundle` the other files, one after the other. `listing` is JSON:
    their paths and their lengths in bytes, in the same order.
    """

    library: bytes
    bundle: bytes
    listing: bytes


def browser_sources() -> list[Path]:
    """Our own Python that the browser runs: that of the page, and of `hub` what it imports, with the packages around.

    In the order of their paths.
    """
    waiting = [path for path in sorted(WEB.rglob("*.py")) if not {path, *path.parents} & {*TOOLS}]
    found: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path.exists() and path not in found and NOT_THERE not in imports(path):
            found.add(path)
            modules = [ROOT / name.replace(".", "/") for name in imports(path) if name.startswith("hub.")]
            waiting += [each for name in modules for each in (name.with_suffix(".py"), name / "__init__.py")]
            waiting += [folder / "__init__.py" for folder in path.parents if ROOT in folder.parents]
    return sorted(found)


def own_sources() -> dict[str, str]:
    """The same as path in the browser → source text.

    They are compiled here. The browser compiles those that were changed since.
    """
    places = {path: WEB if WEB in path.parents else ROOT for path in browser_sources()}
    return {path.relative_to(base).as_posix(): path.read_text("utf-8") for path, base in sorted(places.items())}


def imports(path: Path) -> set[str]:
    """The names that a source imports, on any level: `from a import b` gives a and a.b, which may be a module."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def roots() -> list[str]:
    """What our sources import, and the margin: what the standard library that is packed has to hold."""
    return sorted({*MARGIN, *(name for path in browser_sources() for name in imports(path))})


def pyscript_roots(packages: Path) -> set[str]:
    """The names that PyScript's own Python imports."""
    sources = (packages / "@pyscript/core/src/stdlib/pyscript").rglob("*.py")
    return {name for path in sources for name in imports(path)}


def compile_python(node: Node, packages: Path, wheels: Sequence[Path], work: Path) -> Library:
    """Compile all Python that the browser gets. Raises BuildError if Pyodide does not start with it."""
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
    print("page: compiling Python for the browser", flush=True)
    (work / "job.json").write_text(json.dumps(job))
    run([*node.node, WEB / "make/prepare.mjs", "python", work / "job.json"])
    return Library(**{name: Path(path).read_bytes() for name, path in output.items()})
