"""What ``tail`` and ``chat`` show in a terminal.

Owns the lines that a person reads. Connections, resuming and the outbox are `hub.client`'s.
"""

import logging
import sys
from collections.abc import Iterable

from hub.client.connection import connect
from hub.client.events import Accepted, ClientEvent, Interrupted, Rejected
from hub.protocol import CaughtUp, Deleted, Note, Reset
from hub.protocol.codec import encode
from hub.protocol.text import printable, text_line

# Both show each lost connection themselves; without a handler the client's warnings would go to standard error as well.
logging.getLogger("hub.client").addHandler(logging.NullHandler())


def line(event: ClientEvent) -> str:
    """A client event as one line for people, in local time; empty for an event that needs no line."""
    match event:
        case Interrupted():
            again = "" if event.delay is None else f"; trying again in {event.delay:.1f} s"
            return f"* not connected to the hub: {printable(event.reason)}{again}"
        case Rejected():
            return f"! {printable(event.error.message)} {printable(event.error.hint)}"
        case Accepted():
            return ""
        case CaughtUp():
            return "* up to date"
        case _:
            return text_line(event, local=True)


async def tail(url: str, topics: Iterable[str], after: int | None, last: int | None, as_json: bool) -> None:
    """Print events to standard output, and the state of the connection to standard error, until cancelled.

    The parameters are those of `hub.connect`. Raises ClosedError when the hub refuses for good.
    """
    async with connect(url, topics, after, last) as connection:
        try:
            async for event in connection:
                is_from_log = isinstance(event, Note | Deleted | Reset)
                if is_from_log and as_json:
                    print(encode(event).decode(), flush=True)
                elif text := line(event):
                    print(text, file=sys.stdout if is_from_log else sys.stderr, flush=True)
        finally:
            if (cursor := connection.cursor) is not None:
                print(f"* to go on from here: --after {cursor}", file=sys.stderr)
