"""What ``tail`` and ``chat`` show in a terminal.

Owns the lines that a person reads. Connections, resuming and the outbox are `hub.client`'s.
"""

import sys
from collections.abc import Iterable

from hub.client.connection import connect
from hub.client.events import Accepted, Interrupted, Rejected, Signal
from hub.protocol import CaughtUp, Deleted, Note, Reset
from hub.protocol.codec import encode
from hub.protocol.text import printable, text_line


def line(signal: Signal) -> str:
    """A signal as one line for people, in local time; empty for a signal that needs no line."""
    match signal:
        case Interrupted():
            again = "" if signal.delay is None else f"; trying again in {signal.delay:.1f} s"
            return f"* not connected: {printable(signal.reason) or signal.code}{again}"
        case Rejected():
            return f"! {printable(signal.error.message)} {printable(signal.error.hint)}"
        case Accepted():
            return ""
        case CaughtUp():
            return "* up to date"
        case _:
            return text_line(signal, local=True)


async def tail(url: str, topics: Iterable[str], after: int | None, last: int | None, as_json: bool) -> None:
    """Print events to standard output, and the state of the connection to standard error, until cancelled.

    The parameters are those of `hub.connect`. Raises ClosedError when the hub refuses for good.
    """
    async with connect(url, topics, after, last) as connection:
        try:
            async for signal in connection:
                is_event = isinstance(signal, Note | Deleted | Reset)
                if is_event and as_json:
                    print(encode(signal).decode(), flush=True)
                elif text := line(signal):
                    print(text, file=sys.stdout if is_event else sys.stderr, flush=True)
        finally:
            if (cursor := connection.cursor) is not None:
                print(f"* to go on from here: --after {cursor}", file=sys.stderr)
