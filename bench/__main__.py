"""Runs the measurements: ``make bench``, or some of them: ``make bench ARGS="storm stall"``."""

import argparse
import asyncio
import importlib
import logging
import os
import platform
import resource
import sys
from pathlib import Path

import structlog
import uvloop

# Each is a module with `run(full=False)`, which prints its table and ends the program when a note is lost.
ALL = (
    "fanout", "delay", "publish", "rows", "topics", "idle", "catchup", "streams", "storm", "stall", "deaf", "busy",
    "start", "workers", "notify",
)  # fmt: skip


async def main(names: list[str], full: bool) -> list[str]:
    """Run some; what failed."""
    failed = []
    for name in names:
        module = importlib.import_module(f"bench.{name}")
        try:
            await (module.run(full=True) if full else module.run())
        except SystemExit as error:
            failed.append(f"{name}: {error.code}")
    return failed


def machine() -> str:
    """What the figures were measured on."""
    info = Path("/proc/cpuinfo")
    models = [line.partition(": ")[2] for line in info.read_text().splitlines() if line.startswith("model name")]
    model = models[0] if models else platform.machine()
    system = f"{platform.system()} {platform.release()}; Python {platform.python_version()}"
    return f"{os.cpu_count()} cores, {model}; {system}"


parser = argparse.ArgumentParser(prog="python -m bench", description="Measures the hub, and its peers beside it.")
parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(ALL)}; none: all of them")
parser.add_argument("--full", action="store_true", help="the long run: more clients, more rounds")
arguments = parser.parse_args()
if unknown := [name for name in arguments.names if name not in ALL]:
    parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(ALL)}")
structlog.configure(
    logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
)
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # every client of the crowd is an open file
print(machine(), flush=True)
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    failures = runner.run(main(arguments.names or list(ALL), arguments.full))
if failures:
    sys.exit("\n".join(("", "failed:", *failures)))
