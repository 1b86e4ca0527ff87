"""From the start of the process to the first answer of ``/readyz``: with a database that runs, and with its own."""

import asyncio
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

from bench import usage
from bench.parts import embedded_database, row

ROUNDS = 5
IMPORT = "import hub.cli.serve"


async def run(full: bool = False) -> None:
    """Print the table; all take turns."""
    rounds = ROUNDS * (3 if full else 1)
    python, imports, ready, embedded, memory = [], [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        async with embedded_database() as url:
            await asyncio.to_thread(_ready, "--data-dir", folder)  # makes the database that later starts find
            await asyncio.to_thread(_ready, "--database-url", url)
            for _ in range(rounds):
                python.append(await _run_python("pass"))
                imports.append(await _run_python(IMPORT))
                seconds, used = await asyncio.to_thread(_ready, "--database-url", url)
                ready.append(seconds * 1e3)
                memory.append(used / (1 << 20))
                embedded.append((await asyncio.to_thread(_ready, "--data-dir", folder))[0] * 1e3)
    print(f"\nStart-up, {rounds} rounds in turn (median, range)")
    print(row("Python itself, start to end", python, "ms"))
    print(row("Python and all imports of the hub, start to end", imports, "ms"))
    print(row("process started → ready, a database that runs", ready, "ms"))
    print(row("process started → ready, its own Postgres on existing data", embedded, "ms"))
    print(row("the hub's memory when ready", memory, "MB"))


async def _run_python(code: str) -> float:
    start = time.perf_counter()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    assert await process.wait() == 0
    return (time.perf_counter() - start) * 1e3


def _ready(*options: str) -> tuple[float, int]:
    """Start a hub, wait for its first good answer, end it: the seconds until then, and its memory in bytes."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "hub", "serve", "--port", str(port), "--log-level", "error", *options]
    start = time.perf_counter()
    process = subprocess.Popen(command)
    try:
        while not _answers(f"http://127.0.0.1:{port}/readyz"):
            if process.poll() is not None or time.perf_counter() - start > 30:
                raise TimeoutError("the hub did not become ready")
            time.sleep(0.002)
        return time.perf_counter() - start, usage.memory(process.pid).rss
    finally:
        process.terminate()
        process.wait()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, ConnectionError):
        return False
