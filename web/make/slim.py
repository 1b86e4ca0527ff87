"""Compiles Python for the browser. Runs in Pyodide under node (prepare.mjs), not on the hub.

Owns which modules of the standard library are kept: those that `roots` import, directly or not, and
those that Pyodide itself has imported to get here. All is compiled by the very interpreter that
will load it.
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
EPOCH = (1980, 1, 1, 0, 0, 0)  # a fixed time, so that the same input makes the same file
OPTIMIZE = 2  # without docstrings and asserts
NOT_RUN = (".pyi", "py.typed")
CHECKED = (0b11).to_bytes(4, "little")  # the flags of a .pyc that holds a hash of its source (PEP 552)


def sourceless(source: bytes, path: str) -> bytes:
    """The .pyc of a module beside which no source stands."""
    code = compile(source, path, "exec", dont_inherit=True, optimize=OPTIMIZE)
    return importlib.util.MAGIC_NUMBER + bytes(12) + marshal.dumps(code)


def checked(source: bytes, path: str) -> bytes:
    """The .pyc of a module whose source will stand beside it; it counts only if that is the same to the letter."""
    code = compile(source, path, "exec", dont_inherit=True, optimize=OPTIMIZE)
    return importlib.util.MAGIC_NUMBER + CHECKED + importlib.util.source_hash(source) + marshal.dumps(code)


def unpack(wheel: bytes) -> dict[str, bytes]:
    """The files of a wheel as they are to stand in the browser: modules compiled, the rest as it is."""
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
    """The caches of modules that will be written as text when the page starts."""
    return {importlib.util.cache_from_source(path): checked(text.encode(), path) for path, text in sources.items()}


def pack(wheels: Iterable[bytes], sources: Mapping[str, str]) -> list[tuple[str, bytes]]:
    """All files that are to be there before Python starts, with their paths."""
    files = cache(sources)
    for wheel in wheels:
        files |= unpack(bytes(wheel))
    return [*files.items()]


def load(roots: Iterable[str]) -> list[str]:
    """Import the roots that are here, and name them; the others are the page's own, JavaScript's, or no modules."""
    found = []
    for name in roots:
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(name)
            found.append(name)
    return found


def loaded() -> set[str]:
    """The files in the library whose modules are imported."""
    origins = (getattr(module.__spec__, "origin", None) for module in [*sys.modules.values()] if module.__spec__)
    return {origin.removeprefix(LIBRARY + "/") for origin in origins if origin and origin.startswith(LIBRARY)}


def shrink(target: str, roots: Iterable[str]) -> list[str]:
    """Make the library of what the roots need, stored so that brotli sees across files; the roots that are here."""
    found = load(roots)
    with zipfile.ZipFile(LIBRARY) as source, zipfile.ZipFile(target, "w") as output:
        for name in sorted(loaded()):
            output.writestr(zipfile.ZipInfo(name + "c", EPOCH), sourceless(source.read(name), f"{LIBRARY}/{name}"))
    return found
