"""The client of a hub.

Owns the state of one client without a socket (`state`), what a client tells its user (`events`), and `connect`, which
runs a client over aiohttp (`connection`; it is not imported here, since the browser runs the other modules and has no
aiohttp). It never draws or prints.
"""

from hub.client.events import Accepted, ClientEvent, Interrupted, Rejected
from hub.client.state import Client

__all__ = ["Accepted", "Client", "ClientEvent", "Interrupted", "Rejected"]
