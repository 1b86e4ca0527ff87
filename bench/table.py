"""The table of the fan-out: medians of the rounds, and each system beside the limit of the same run."""

import statistics
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from bench.systems import LIMIT

if TYPE_CHECKING:
    from bench.fanout import Cell

TITLES = {
    "single": "single notes, the next one when all have the last",
    "paced": "one note every 4 ms (past 1,000 clients: 4 µs for each)",
    "burst": "ten notes in one statement, the next ten when all have the last",
}


def show(cells: Sequence["Cell"], sizes: Sequence[int], ways: Sequence[str], rounds: int) -> None:
    """Print a part of the table for each way and number of clients, the cheapest system first."""
    print(f"\nFan-out: CPU per delivery, user and system, of all processes of a system but Postgres; {rounds} rounds")
    for way in ways:
        for size in sizes:
            here = [cell for cell in cells if cell.way in (way, "warm-up") and cell.clients == size]
            print(f"\n{size:,} client{'s' * (size > 1)}, {TITLES[way]}")
            heads = ("µs", "range", "× limit", "per second", "p50 ms", "p99 ms", "p99.9 ms", "load µs")
            print("  {:<30}{:>8}{:>15}{:>9}{:>12}{:>10}{:>10}{:>10}{:>9}".format("", *heads))
            names = dict.fromkeys(cell.system for cell in here)
            groups = {name: [cell for cell in here if cell.system == name] for name in names}
            for name in sorted(names, key=lambda each: cost(groups[each])):
                print(line(name, groups[name], groups.get(LIMIT, [])))


def cost(cells: Sequence["Cell"]) -> float:
    """The median of µs of CPU per delivery; infinite when no round was complete."""
    return statistics.median(_costs(cells) or [float("inf")])


def _costs(cells: Sequence["Cell"]) -> list[float]:
    return [cell.ran / cell.count.deliveries / 1e3 for cell in cells if cell.count and cell.count.deliveries]


def ratio(cells: Sequence["Cell"], limit: Sequence["Cell"]) -> float:
    """The median of the rounds' ratios: the speed of a shared machine changes between rounds."""
    ratios = [mine / least for mine, least in zip(_costs(cells), _costs(limit), strict=False)]
    return statistics.median(ratios or [float("nan")])


def line(name: str, cells: Sequence["Cell"], limit: Sequence["Cell"]) -> str:
    """A system's line, with what was wrong at its end."""
    wrong = "; ".join(dict.fromkeys(cell.wrong for cell in cells if cell.wrong))
    done = [cell for cell in cells if cell.count and cell.count.deliveries]
    if not done:
        return f"  {name:<30}  {wrong}"

    def median(value: Callable[["Cell"], float]) -> float:
        return statistics.median(value(cell) for cell in done)

    costs = _costs(done)
    spread = f"{min(costs):,.2f}–{max(costs):,.2f}"
    rate = median(lambda cell: cell.count.deliveries / cell.wall * 1e9 if cell.count else 0)
    times = [median(lambda cell, each=each: getattr(cell.count, each) / 1e6) for each in ("p50", "p99", "p999")]  # type: ignore[misc]
    load = median(lambda cell: cell.count.cpu / cell.count.deliveries / 1e3 if cell.count else 0)
    figures = f"{cost(done):>8,.2f}{spread:>15}{ratio(done, limit):>9,.2f}{rate:>12,.0f}"
    figures += "".join(f"{each:>10,.2f}" for each in times) + f"{load:>9,.2f}"
    return f"  {name:<30}{figures}" + (f"  {wrong}" if wrong else "")
