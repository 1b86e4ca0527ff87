"""A hub as it runs where it is refused io_uring, as Docker's containers are by default.

``python -m bench.without_uring serve …``
"""

from hub import app
from hub.cli import main
from hub.uring import Uring


def refuse() -> Uring:
    raise OSError("refused, to be measured without")


if __name__ == "__main__":
    app.Uring = refuse  # type: ignore[assignment, misc]
    main()
