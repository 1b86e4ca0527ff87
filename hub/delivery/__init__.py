"""Delivery: the only code that writes to a client's socket.

Owns the outgoing bytes of each client, the fan-out of the same bytes to many, io_uring, and the keep-alive that pings
the silent and closes the dead. It knows no message, no topic and no library for HTTP: whoever has an asyncio transport
can use it.
"""
