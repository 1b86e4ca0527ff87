"""Prepares what the page runs on, once: ``python web/build.py OUT_DIR``.

Owns the folder that is served and its `manifest.json`; `make/` fetches and makes what goes in. Our own
Python is in it in compiled form only: the hub serves the sources as they are. Unchanged inputs: nothing is done.

The manifest holds `inputs` (a hash), `entry` (what the page has to name: name -> path), `preload`
(path, and whether as `module` or `fetch`, the largest first) and `files` (path -> `size`, and `br`:
bytes on the wire for a browser that takes brotli). Beside a file stand FILE.br and FILE.gz, where
they are worth it.
"""

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from make.contents import OWN_MODULES, Assets, collect, digest
from make.fetch import NPM_FILES, WEB, BuildError, Node, find_node, run
from make.library import own_sources

WORK = WEB.parent / ".web"
MANIFEST = "manifest.json"
INPUTS = ("build.py", "wheels.txt", *OWN_MODULES, *NPM_FILES)


def build(out: Path, work: Path) -> bool:
    """Prepare the assets, if need be; whether there was. Raises BuildError."""
    inputs = fingerprint()
    if is_current(out, inputs):
        return False
    if out.exists() and any(out.iterdir()) and not (out / MANIFEST).exists():
        raise BuildError(f"{out} holds other files; give a folder that is new or empty.")
    out.mkdir(parents=True, exist_ok=True)
    work.mkdir(parents=True, exist_ok=True)
    node = find_node(work)
    assets = collect(node, work)
    write(assets.files, out)
    compress(assets.files, node, out)
    write_manifest(assets, inputs, out)
    prune(out, {MANIFEST, *assets.files})
    return True


def fingerprint() -> str:
    """A hash of all that the result depends on: the tools, what they read, and our own Python, which they compile."""
    tools = sorted(path for path in (WEB / "make").iterdir() if path.is_file())
    contents = (path.read_bytes() for path in [*tools, *(WEB / name for name in INPUTS)])
    own = (part.encode() for source in own_sources().items() for part in source)
    return digest(*contents, *own)


def is_current(out: Path, inputs: str) -> bool:
    """Whether an earlier run left exactly what this one would."""
    try:
        manifest = json.loads((out / MANIFEST).read_bytes())
        return manifest["inputs"] == inputs and all((out / path).exists() for path in manifest["files"])
    except (OSError, ValueError, KeyError):
        return False


def write(files: dict[str, bytes], out: Path) -> None:
    """Write what is not there yet; a change of content is a change of name."""
    for path, data in files.items():
        target = out / path
        if not target.exists() or target.read_bytes() != data:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)


def compress(files: Iterable[str], node: Node, out: Path) -> None:
    """Write the compressed siblings of those that have none."""
    new = [out / path for path in files if not sibling(out / path, "gz").exists()]
    if new:
        print("page: compressing what the browser gets, which takes half a minute at first", flush=True)
        run([*node.node, WEB / "make/prepare.mjs", "compress", *new])


def sibling(path: Path, suffix: str) -> Path:
    """Where the compressed form of a file stands."""
    return path.with_name(f"{path.name}.{suffix}")


def write_manifest(assets: Assets, inputs: str, out: Path) -> None:
    """Write the manifest last and at once, so that it never names what is not there."""
    largest = sorted(assets.files, key=lambda path: (-len(assets.files[path]), path))
    manifest = {
        "inputs": inputs,
        "entry": assets.entry,
        "preload": [{"path": path, "as": kind(path)} for path in largest],
        "files": {path: {"size": len(assets.files[path]), "br": wire_size(out / path)} for path in largest},
    }
    draft = out / f"{MANIFEST}.new"
    draft.write_text(json.dumps(manifest, indent=2) + "\n")
    draft.replace(out / MANIFEST)


def kind(path: str) -> str:
    """How a page preloads a file."""
    return "module" if path.endswith((".js", ".mjs")) else "fetch"


def wire_size(path: Path) -> int:
    """The bytes on the wire for a browser that takes brotli."""
    small = sibling(path, "br")
    return (small if small.exists() else path).stat().st_size


def prune(out: Path, keep: set[str]) -> None:
    """Remove what a former build left."""
    kept = {out / f"{path}{suffix}" for path in keep for suffix in ("", ".br", ".gz")}
    for path in sorted(out.rglob("*"), reverse=True):
        if path.is_file() and path not in kept:
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Prepares what the page runs on; does nothing if nothing has changed.")
    parser.add_argument("out", metavar="OUT_DIR", type=Path, help="folder for the files to serve, such as web/dist")
    parser.add_argument("--work", type=Path, default=WORK, help="folder for what is fetched (default: .web)")
    options = parser.parse_args()
    out = options.out.resolve()
    try:
        built = build(out, options.work.resolve())
    except BuildError as error:
        sys.exit(f"{error}\nThe page's assets could not be prepared.")
    if built:
        files = json.loads((out / MANIFEST).read_bytes())["files"]
        print(f"{options.out}: {sum(each['br'] for each in files.values()) / 1e6:.2f} MB on the wire")


if __name__ == "__main__":
    main()
