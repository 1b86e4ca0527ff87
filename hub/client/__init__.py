"""The client."""

from hub.client.events import Accepted, Interrupted, Rejected, Signal
from hub.client.state import Client

__all__ = ["Accepted", "Client", "Interrupted", "Rejected", "Signal"]
