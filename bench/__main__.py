"""Runs every measurement: ``make bench``."""

import asyncio

import uvloop

from bench import delay, publish


async def main() -> None:
    await delay.run()
    await publish.run()


with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main())
