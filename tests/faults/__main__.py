"""Runs seeds of the fault suite and tells what came of each.

Examples:
  python -m tests.faults --seeds 20 --seconds 15
  python -m tests.faults --seeds 1 --first-seed 7            one seed again
  python -m tests.faults --seeds 1 --seconds 5 --control prev
  python -m tests.faults --seeds 0 --failover 2              only a failover, there and back
"""

import argparse
import asyncio
import logging
import random
import sys
import time
from collections import Counter
from pathlib import Path

import structlog
import uvloop

from tests.faults import failover as world_of_failover
from tests.faults import world
from tests.faults.controls import CONTROLS, NONE
from tests.faults.exactness import Finding

MAX_SHOWN = 6  # findings of a kind in a run that did not go as it must


def line(result: world.Result, verdict: str, seconds: float) -> str:
    """One line on a run."""
    faults = " ".join(f"{kind}={count}" for kind, count in sorted(result.faults.items()))
    writers, clients = result.writers, result.clients
    return (
        f"seed {result.seed}: {verdict} | {result.events} events, {clients['deliveries']} deliveries | {faults} | "
        f"{writers['committed']} transactions committed, {writers['aborted']} aborted, {writers['refused']} refused, "
        f"{writers['connections lost']} lost connections | clients: {clients['connections']} connections, "
        f"{clients['stale cursors']} stale cursors, {clients['stalls']} stalls, {clients['subscribed']} subscribes, "
        f"{clients['resets']} resets, {clients['published']} published, {clients['accepted']} acknowledged | "
        f"{seconds:.0f} s"
    )


def shown(result: world.Result, most: int) -> list[Finding]:
    """The first findings of each kind."""
    kinds = dict.fromkeys(finding.kind for finding in result.findings)
    return [each for kind in kinds for each in [f for f in result.findings if f.kind == kind][:most]]


def failover(switches: int, is_control: bool) -> bool:
    """Run the world of a failover; whether it went as it must."""
    start = time.monotonic()
    findings, counts = asyncio.run(world_of_failover.run(switches, ("--without", "states") if is_control else ()))
    kinds = {each.kind for each in findings}
    right = kinds == ({"refused"} if is_control else set())
    verdict = ", ".join(sorted(kinds)) or "exact"
    print(
        f"failover: {verdict}{' (as it must)' if right and is_control else ''} | {switches} switches, "
        f"{counts['notes']} notes | {time.monotonic() - start:.0f} s",
        flush=True,
    )
    for finding in findings[: 1 if right else MAX_SHOWN]:
        print(f"  failover: {finding.kind}: {finding.client}: {finding.text}", flush=True)
    return right


def main() -> int:
    """Run what the command line asks for; 1 if any run did not go as it must."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=20, help="how many runs (default 20)")
    parser.add_argument("--first-seed", type=int, default=None, help="the first one's seed (default: a random one)")
    parser.add_argument("--seconds", type=float, default=15.0, help="how long each is broken (default 15)")
    parser.add_argument("--failover", type=int, default=2, help="then let two Postgres change places so often (2)")
    parser.add_argument("--without-states", action="store_true", help="the failover's control: it must fail")
    parser.add_argument("--control", choices=CONTROLS, default=None, help="take a protection out: each run must fail")
    parser.add_argument("--keep", type=Path, default=None, help="folder for the logs of hubs and Postgres")
    options = parser.parse_args()
    first = random.randrange(1, 1_000_000) if options.first_seed is None else options.first_seed
    control = CONTROLS[options.control] if options.control else NONE
    quiet = structlog.make_filtering_bound_logger(logging.INFO if options.keep else logging.CRITICAL)
    structlog.configure(wrapper_class=quiet)
    wrong, totals = 0, world.Result(0)
    for seed in range(first, first + options.seeds):
        start = time.monotonic()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            result = runner.run(world.run(seed, options.seconds, control, options.keep))
        right = result.proves(control)
        wrong += not right
        kinds = ", ".join(f"{n} {kind}" for kind, n in Counter(finding.kind for finding in result.findings).items())
        verdict = kinds or "exact"
        if control is not NONE:
            verdict += f" ({'as it must' if right else 'EXPECTED ' + control.expected})"
        print(line(result, verdict, time.monotonic() - start), flush=True)
        for finding in shown(result, 1 if right else MAX_SHOWN):
            print(f"  seed {seed}: {finding.kind}: {finding.client}: {finding.text}", flush=True)
        totals.events += result.events
        for name in ("faults", "writers", "clients"):
            getattr(totals, name).update(getattr(result, name))
    if options.seeds:
        print(line(totals, f"{options.seeds - wrong} of {options.seeds} as they must be", 0).replace("seed 0", "total"))
    if options.failover and control is NONE:
        wrong += not failover(options.failover, options.without_states)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
