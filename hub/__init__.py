"""A WebSocket hub for notes that live in Postgres; ``hub.connect`` is its Python client."""

import typing

if typing.TYPE_CHECKING:
    from hub.client.connection import connect

__all__ = ["__version__", "connect"]

__version__ = "0.1.0"

if not typing.TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        # `connect` is imported when it is first used: the browser runs this file too, and has no aiohttp.
        if name == "connect":
            from hub.client.connection import connect

            return connect
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
