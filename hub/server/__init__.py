"""The server: aiohttp, and the lives of clients.

Owns the composition of a hub (`app`), the life of a WebSocket (`session`) and of an HTTP stream (`stream`), one file
for each command, the HTTP addresses, which web pages may use them, health and metrics. It writes to a client only
through `hub.delivery`, and holds no SQL.
"""
