"""Runs the measurements: ``make bench``, or some of them: ``make bench ARGS="storm stall"``."""

import asyncio
import importlib
import resource
import sys

import structlog
import uvloop

ALL = ("delay", "publish", "storm", "stall")


async def main(names: list[str]) -> None:
    for name in names:
        await importlib.import_module(f"bench.{name}").run()


structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # every client of the crowd is an open file
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main(sys.argv[1:] or list(ALL)))
