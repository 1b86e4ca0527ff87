"""What is served: which files, and under which names.

Owns the names. Each contains a hash of the content, so browsers may keep the file for ever. Files that name each other
(PyScript's modules, Pyodide's) keep their own names in a folder whose name has the hash. It never writes or compresses
them: `build.py` does.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import NamedTuple

from make.fetch import WEB, Node, fetch_packages, fetch_wheels, pyodide_info
from make.library import compile_python

PYODIDE_FILES = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm")
OWN_MODULES = ("interpreter.mjs", "start.mjs")  # in this order, since the second imports the first by its hashed name

# The plugins of PyScript that are kept: the one that shows errors. The page turns the others off.
PYSCRIPT_PLUGINS = ("error",)


class Assets(NamedTuple):
    """The files to write: `files` is path → content, and `entry` is name → path for those that the page names."""

    files: dict[str, bytes]
    entry: dict[str, str]


def collect(node: Node, work: Path) -> Assets:
    """Fetch and make everything that will be served, with `work` as a folder for what is fetched. Raises BuildError."""
    packages = fetch_packages(node, work / "npm")
    info = pyodide_info(packages)
    wheels = fetch_wheels(info, work / "wheels")
    python = compile_python(node, packages, wheels, work)
    stdlib, bundle = hashed("stdlib.zip", python.library), hashed("bundle.bin", python.bundle)
    pyodide, files = foldered("pyodide", {name: _read(packages / "pyodide" / name) for name in PYODIDE_FILES})
    pyscript, scripts = foldered("pyscript", pyscript_files(packages / "@pyscript/core/dist"))
    names = {"pyodide": pyodide, "pyscript": pyscript, "stdlib": stdlib, "bundle": bundle}
    own, entry = own_modules(names | {"info": json.dumps(info), "index": python.listing.decode()})
    return Assets({**files, **scripts, stdlib: python.library, bundle: python.bundle, **own}, entry)


def own_modules(names: dict[str, str]) -> tuple[dict[str, bytes], dict[str, str]]:
    """Our own JavaScript modules with `names` filled in, as path → content and name → path."""
    files: dict[str, bytes] = {}
    entry: dict[str, str] = {}
    for name in OWN_MODULES:
        data = Template((WEB / name).read_text("utf-8")).substitute(names, **entry).encode()
        path = hashed(name, data)
        files[path] = data
        entry[name.removesuffix(".mjs")] = path
    return files, entry


def pyscript_files(folder: Path) -> dict[str, bytes]:
    """PyScript's core, the modules that it always imports, and the plugins that are kept, as name → content."""
    found: dict[str, bytes] = {}
    waiting = ["core.js"]
    while waiting:
        name = waiting.pop()
        if name not in found:
            text = (folder / name).read_text("utf-8")
            found[name] = _without_map(text)
            waiting += re.findall(r'(?:from|import) ?"\./([^"]+)"', text)
            waiting += [plugin for plugin in re.findall(r'import\("\./([^"]+)"\)', text) if _is_wanted(plugin)]
    return found


def _is_wanted(name: str) -> bool:
    return any(re.fullmatch(rf"{plugin}-\w+\.js", name) for plugin in PYSCRIPT_PLUGINS)


def _read(path: Path) -> bytes:
    return _without_map(path.read_text("utf-8")) if path.suffix == ".mjs" else path.read_bytes()


def _without_map(text: str) -> bytes:
    """A module without the name of its source map, which is not served."""
    return re.sub(r"\n//# sourceMappingURL=\S+\s*$", "\n", text).encode()


def digest(*parts: bytes) -> str:
    """A short hash of some contents, for names: 12 hexadecimal digits of SHA-256."""
    total = hashlib.sha256()
    for part in parts:
        total.update(hashlib.sha256(part).digest())
    return total.hexdigest()[:12]


def foldered(name: str, files: Mapping[str, bytes]) -> tuple[str, dict[str, bytes]]:
    """A folder for files that keep their names. Returns its name, with the hash of all files, and path → content."""
    folder = f"{name}-{digest(*(part for file in sorted(files) for part in (file.encode(), files[file])))}"
    return folder, {f"{folder}/{file}": data for file, data in files.items()}


def hashed(name: str, data: bytes) -> str:
    """The name of a file with the hash of its content before the suffix."""
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}-{digest(data)}{dot}{suffix}"
