"""The development Postgres that comes along, for when no DATABASE_URL is given.

Owns one data folder, the `postgres` process on it, and the lock that decides who runs it. Never listens on TCP, never
runs as root, never outlives its owner, and knows nothing of the hub's schema.
"""

from hub.embedded.files import binary
from hub.embedded.server import database_url, is_running, running

__all__ = ["binary", "database_url", "is_running", "running"]
