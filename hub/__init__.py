"""A WebSocket hub for notes that live in Postgres."""

__version__ = "0.1.0"
