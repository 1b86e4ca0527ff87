"""How long to wait before trying again."""

import random
from collections.abc import Callable, Iterator


def backoff(
    first: float = 0.1, longest: float = 5.0, uniform: Callable[[float, float], float] = random.uniform
) -> Iterator[float]:
    """Seconds to wait before each further attempt.

    Full jitter: each wait is random, between 0 and a limit that starts at `first` and doubles up to `longest`. So a
    crowd that lost its hub at one moment does not come back at one moment.
    """
    limit = first
    while True:
        yield uniform(0, limit)
        limit = min(limit * 2, longest)
