"""How a message looks on each kind of connection.

Owns the wire formats: a WebSocket frame with JSON, one with a line for people, a line of JSON, an
SSE block, and the last two in HTTP chunks. A format is a function from a message to the
bytes as the socket takes them, the same for every client; nothing here knows a client. It may be
told the position at which a client is that has this message and all before it.
"""

import random
from datetime import UTC
from typing import Final, Protocol

from hub.protocol import Ack, CaughtUp, Deleted, Error, Message, Note, Page, Pong, Reset, Status, Welcome
from hub.protocol.codec import encode


class Format(Protocol):
    """Makes bytes of a message; none of what its readers need not know."""

    def __call__(self, message: Message, position: int | None = None, /) -> bytes:
        """The bytes as the socket takes them."""


def frame(payload: bytes) -> bytes:
    """A text frame from a server: final, not masked (RFC 6455 §5.2)."""
    length = len(payload)
    if length < 126:
        return bytes((0x81, length)) + payload
    if length < 1 << 16:
        return b"\x81\x7e" + length.to_bytes(2, "big") + payload
    return b"\x81\x7f" + length.to_bytes(8, "big") + payload


PING_FRAME: Final = b"\x89\x00"


def pong_frame(payload: bytes) -> bytes:
    """The answer to a ping with this payload (RFC 6455 §5.5.3)."""
    return bytes((0x8A, len(payload))) + payload


def close_frame(code: int, reason: str) -> bytes:
    """A server's close frame; the reason is cut to what a control frame holds (RFC 6455 §5.5)."""
    payload = code.to_bytes(2, "big") + reason.encode()[:123]
    return bytes((0x88, len(payload))) + payload


def json_frame(message: Message, position: int | None = None) -> bytes:
    """A WebSocket text frame that holds the message as JSON."""
    return frame(encode(message))


def text_frame(message: Message, position: int | None = None) -> bytes:
    """A WebSocket text frame that holds one line for people, or nothing for what they need not see."""
    line = text_line(message)
    return frame(line.encode() + b"\n") if line else b""


def ndjson(message: Message, position: int | None = None) -> bytes:
    """A line of JSON: notes, and what a reader must know to keep them right."""
    return b"" if isinstance(message, Welcome | Status) else encode(message) + b"\n"


def sse(message: Message, position: int | None = None) -> bytes:
    """A block of an event stream; notes, deletions and resets reach ``onmessage``, the rest by name.

    Its id is the position, so that an EventSource resumes there; it waits a random time before it reconnects.
    """
    head = b"" if position is None else b"id: %d\n" % position
    if isinstance(message, Welcome):
        head += b"retry: %d\n" % random.randint(500, 3000)
    if not isinstance(message, Note | Deleted | Reset):
        head += b"event: %b\n" % str(type(message).__struct_config__.tag).encode()
    return head + b"data: %b\n\n" % encode(message)


def chunk(data: bytes) -> bytes:
    """A chunk of an HTTP/1.1 body (RFC 9112 §7.1); an empty one would end the body, so it is nothing."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def ndjson_chunk(message: Message, position: int | None = None) -> bytes:
    """A line of JSON as an HTTP chunk."""
    return chunk(ndjson(message, position))


def sse_chunk(message: Message, position: int | None = None) -> bytes:
    """An SSE block as an HTTP chunk."""
    return chunk(sse(message, position))


# Control characters would let a note move a reader's cursor or recolour the terminal; the
# bidirectional overrides would let it rewrite the rest of the line.
_UNSAFE: Final = {
    **dict.fromkeys((*range(32), *range(127, 160), *range(8234, 8239), *range(8294, 8298)), "·"),
    **dict.fromkeys((0x0A, 0x0D, 0x2028, 0x2029), " ⏎ "),
    0x09: " ",
}


def printable(text: str) -> str:
    """The text on one line, with nothing in it that a terminal would obey."""
    return text.replace("\r\n", "\n").translate(_UNSAFE)


def text_line(message: Message, local: bool = False) -> str:
    """The message as a line for people, without a line end; empty if it is none of their business.

    Times are UTC, or this machine's own with `local`.
    """
    match message:
        case Note():
            time = message.created_timestamp.astimezone(None if local else UTC).strftime("%H:%M:%S")
            return f"{time} #{printable(message.topic)} {printable(message.username)}: {printable(message.body)}"
        case Deleted():
            return f"* note {message.rowid} was deleted from #{printable(message.topic)}"
        case Welcome():
            topics = " ".join("#" + printable(topic) for topic in message.topics)
            return f"* connected to {topics or 'no topic'} at {message.seq}"
        case CaughtUp():
            return f"* up to date at {message.seq}; resume with after={message.seq}"
        case Reset():
            return f"* starting afresh at {message.seq}: {message.reason}"
        case Status():
            return (
                "* the database is back" if message.listening else "* the database can't be reached; notes will be late"
            )
        case Error():
            return f"! {printable(message.message)} {printable(message.hint)}"
        case Page():
            return "\n".join(text_line(note, local) for note in message.notes)
        case Ack() | Pong():
            return ""
