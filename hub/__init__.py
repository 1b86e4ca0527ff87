"""A WebSocket hub for notes that live in Postgres; ``hub.connect`` is its Python client."""

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Not imported above: the browser runs this file too, and has no aiohttp.
    if name == "connect":
        from hub.client.connection import connect

        return connect
    raise AttributeError(name)
