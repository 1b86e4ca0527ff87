"""The peers that the hub is measured against: what they are, and how they are fetched.

Each is a program in a file of its own in this folder, written as its documentation teaches. It is run
with DATABASE_URL and PORT in its environment, hears `channel_note`, and sends each payload, as one
message, to every client that is connected to 127.0.0.1:PORT; it prints "ready" once it can. Nothing that a
peer needs is in the project's own environment: it is all in `.bench`, and known by its hash.
"""

import hashlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from web.make.fetch import WEB, BuildError, find_node, run

HERE = Path(__file__).resolve().parent
ROOT = WEB.parent
REQUIREMENTS, SOCKETIFY = HERE / "requirements.txt", HERE / "socketify.txt"
PIP_INSTALL = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes")
NPM_FILES = (HERE / "package.json", HERE / "package-lock.json", WEB / ".npmrc")
SOCKET_IO = "/socket.io/?EIO=4&transport=websocket"
STREAMS = 150  # of the 200 connections that the embedded Postgres allows


class Peer(NamedTuple):
    """A peer, and how to be its client.

    `kind` says what a client receives. "ws": a text message for each note. "socket.io": the same as
    `42["note",{…}]`, once it has answered `0{…}` with `40` and got `40{…}`; it answers each `2` with `3`.
    "lines": an HTTP response with a line for each note, after a blank one that says that it listens.
    `most` is how many clients it can serve, if that is limited.
    """

    name: str
    command: list[str]
    path: str
    kind: str
    most: int | None


ON_PYTHON = {
    "websockets_broadcast.py": Peer("websockets broadcast()", [], "/", "ws", None),
    "starlette.py": Peer("Starlette + broadcaster", [], "/", "ws", None),
    "socketio_python.py": Peer("python-socketio", [], SOCKET_IO, "socket.io", None),
    "original.py": Peer("bottle + gevent + psycopg", [], "/listen_notes", "lines", STREAMS),
}
ON_SOCKETIFY = {
    "socketify.py": Peer("uWebSockets (socketify)", [], "/", "ws", None),
    "uwebsockets.py": Peer("uWebSockets (waited for)", [], "/", "ws", None),
}
ON_NODE = {
    "ws.mjs": Peer("ws + pg", [], "/", "ws", None),
    "socketio.mjs": Peer("Socket.IO + Postgres adapter", [], SOCKET_IO, "socket.io", None),
}
ALL = ON_PYTHON | ON_SOCKETIFY | ON_NODE


def prepare() -> list[Peer]:
    """Fetch what the peers need, once; those that can be run here. Prints a line for each that cannot."""
    return _those(ON_PYTHON, _python) + _those(ON_SOCKETIFY, _socketify) + _those(ON_NODE, _node)


def _those(peers: dict[str, Peer], fetch: Callable[[], tuple[list[str], Path]]) -> list[Peer]:
    """The peers of one interpreter: `fetch` gives how it is called, and the folder of what it runs."""
    try:
        command, folder = fetch()
    except (BuildError, OSError) as error:
        reason = " ".join(str(error).split())
        for peer in peers.values():
            print(f"{peer.name} is missing: {reason[:300]}")
        return []
    return [peer._replace(command=[*command, str(folder / script)]) for script, peer in peers.items()]


def _python() -> tuple[list[str], Path]:
    """Python with all that has a wheel; `-P`, because some files are named as the library that they use."""
    folder = ROOT / ".bench/venv"
    python = folder / "bin/python"
    if _is_stale(folder, REQUIREMENTS, SOCKETIFY):
        run([sys.executable, "-m", "venv", folder])
        run([python, *PIP_INSTALL, "--only-binary=:all:", "-r", REQUIREMENTS])
        _stamp(folder, REQUIREMENTS, SOCKETIFY)
    return [str(python), "-P"], HERE


def _socketify() -> tuple[list[str], Path]:
    """The same with socketify, which has no wheel, and leaves libuv to the system."""
    command, folder = _python()
    try:
        run([*command, "-c", "import socketify"])
    except BuildError:
        run([command[0], *PIP_INSTALL, "--no-deps", "--no-build-isolation", "-r", SOCKETIFY])
        run([*command, "-c", "import socketify"])
    return command, folder


def _node() -> tuple[list[str], Path]:
    """Node, which finds packages only beside the file that it runs. None of the packages' scripts is run."""
    folder = ROOT / ".bench/node"
    node = find_node(ROOT / ".web")
    if _is_stale(folder, *NPM_FILES):
        folder.mkdir(parents=True)
        for path in NPM_FILES:
            shutil.copy(path, folder)
        run([*node.npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], cwd=folder)
        _stamp(folder, *NPM_FILES)
    for script in ON_NODE:
        shutil.copy(HERE / script, folder)
    return node.node, folder


def _is_stale(folder: Path, *locks: Path) -> bool:
    """Whether a folder was not made, or not completely, from what the locks say; then it is removed."""
    stamp = folder / ".made-of"
    if stamp.exists() and stamp.read_text() == _digest(*locks):
        return False
    shutil.rmtree(folder, ignore_errors=True)
    return True


def _stamp(folder: Path, *locks: Path) -> None:
    (folder / ".made-of").write_text(_digest(*locks))


def _digest(*locks: Path) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in locks)).hexdigest()
