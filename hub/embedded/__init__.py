"""The development Postgres that comes along, for when no DATABASE_URL is given.

Owns one data folder, the `postgres` process on it, and the lock that decides which hub runs that process. It never
listens on TCP, never runs as root, never outlives the hub that started it, and knows nothing of the hub's schema.

Importing it raises EmbeddedError on Windows.
"""

import sys

from hub.errors import EmbeddedError

if sys.platform == "win32":
    raise EmbeddedError("the embedded Postgres needs Linux or macOS: set DATABASE_URL to a Postgres of your own")

from hub.embedded.files import binary, exists
from hub.embedded.server import database_url, is_running, running

__all__ = ["binary", "database_url", "exists", "is_running", "running"]
