"""The waits between attempts."""

import itertools

from hub.backoff import backoff


def test_backoff() -> None:
    """Waits are random, grow and have a limit."""
    series = [[next(delays) for _ in range(12)] for delays in [backoff(0.1, 5.0) for _ in range(200)]]
    assert all(0 <= delay <= min(0.1 * 2**at, 5.0) for waits in series for at, delay in enumerate(waits))
    assert max(waits[0] for waits in series) > 0.05 and 3 < max(waits[-1] for waits in series) <= 5


def test_the_limit_doubles() -> None:
    """Each wait is between 0 and a limit that doubles, up to the longest."""
    highest = backoff(0.5, 15, lambda low, high: high)
    assert list(itertools.islice(highest, 8)) == [0.5, 1, 2, 4, 8, 15, 15, 15]
    assert list(itertools.islice(backoff(0.5, 15, lambda low, high: low), 3)) == [0, 0, 0]
