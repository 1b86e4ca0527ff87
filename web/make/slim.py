"""Compiles Python for the browser. It runs in Pyodide under node (`prepare.mjs`), not on the hub.

Owns which modules of the standard library are kept: those that `roots` import, directly or not, and those that Pyodide
itself has imported to start. The interpreter that compiles a module is the very one that will load it. It never fetches
anything.
"""

import contextlib
import importlib
import importlib.util
import io
import marshal
import sys
import zipfile
from collections.abc import Iterable, Mapping

LIBRARY = next(path for path in sys.path if path.endswith(".zip"))
PACKAGES = next(path for path in sys.path if path.endswith("/site-packages"))
EPOCH = (1980, 1, 1, 0, 0, 0)  # a fixed time, so the same input makes the same zip
OPTIMIZE = 2  # removes docstrings and asserts
NOT_RUN = (".pyi", "py.typed")  # files that only type checkers read
CHECKED = (0b11).to_bytes(4, "little")  # the flags of a .pyc that holds a hash of its source (PEP 552)


def sourceless(source: bytes, path: str) -> bytes:
    """The .pyc of a module without a source file beside it."""
    code = compile(source, path, "exec", dont_inherit=True, optimize=OPTIMIZE)
    return importlib.util.MAGIC_NUMBER + bytes(12) + marshal.dumps(code)


def checked(source: bytes, path: str) -> bytes:
    """The .pyc of a module with its source beside it. Python uses it only if the source is still the same (PEP 552)."""
    code = compile(source, path, "exec", dont_inherit=True, optimize=OPTIMIZE)
    return importlib.util.MAGIC_NUMBER + CHECKED + importlib.util.source_hash(source) + marshal.dumps(code)


def unpack(wheel: bytes) -> dict[str, bytes]:
    """The files of a wheel as path in the browser → content: modules are compiled, other files stay as they are."""
    files = {}
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        for name in sorted(archive.namelist()):
            path, data = f"{PACKAGES}/{name}", archive.read(name)
            if name.endswith(".py"):
                files[path + "c"] = sourceless(data, path)
            elif not name.endswith(NOT_RUN) and ".dist-info/" not in name:
                files[path] = data
    return files


def cache(sources: Mapping[str, str]) -> dict[str, bytes]:
    """The compiled forms of modules whose sources (path → text) are written when the page starts, by their paths."""
    return {importlib.util.cache_from_source(path): checked(text.encode(), path) for path, text in sources.items()}


def pack(wheels: Iterable[bytes], sources: Mapping[str, str]) -> list[tuple[str, bytes]]:
    """All files that must be there before Python starts, each with its path."""
    files = cache(sources)
    for wheel in wheels:
        files |= unpack(bytes(wheel))
    return [*files.items()]


def load(roots: Iterable[str]) -> list[str]:
    """Import the roots that exist here, and return them. The others are the page's, JavaScript's, or no modules."""
    found = []
    for name in roots:
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(name)
            found.append(name)
    return found


def loaded() -> set[str]:
    """The files in the standard library whose modules are imported now."""
    origins = (getattr(module.__spec__, "origin", None) for module in [*sys.modules.values()] if module.__spec__)
    return {origin.removeprefix(LIBRARY + "/") for origin in origins if origin and origin.startswith(LIBRARY)}


def shrink(target: str, roots: Iterable[str]) -> list[str]:
    """Write the library that the roots need to `target`. Returns the roots that exist here.

    The zip is not compressed, so brotli can use what its files have in common.
    """
    found = load(roots)
    with zipfile.ZipFile(LIBRARY) as source, zipfile.ZipFile(target, "w") as output:
        for name in sorted(loaded()):
            output.writestr(zipfile.ZipInfo(name + "c", EPOCH), sourceless(source.read(name), f"{LIBRARY}/{name}"))
    return found
