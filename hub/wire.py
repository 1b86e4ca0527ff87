"""How a message looks on each kind of connection.

Owns the wire formats: a WebSocket frame with JSON, one with a line for people, a line of JSON, an
SSE block, and the last two in HTTP chunks. A format is a function from a message to the
bytes as the socket takes them, the same for every client; nothing here knows a client.
"""

import random
from collections.abc import Callable
from typing import Final

from hub.protocol import (
    Ack,
    CaughtUp,
    Deleted,
    Error,
    Message,
    Note,
    Page,
    Pong,
    Reset,
    Status,
    Welcome,
    encode,
)

Format = Callable[[Message], bytes]


def frame(payload: bytes) -> bytes:
    """A text frame from a server: final, not masked (RFC 6455 §5.2)."""
    length = len(payload)
    if length < 126:
        return bytes((0x81, length)) + payload
    if length < 1 << 16:
        return b"\x81\x7e" + length.to_bytes(2, "big") + payload
    return b"\x81\x7f" + length.to_bytes(8, "big") + payload


def json_frame(message: Message) -> bytes:
    """A WebSocket text frame that holds the message as JSON."""
    return frame(encode(message))


def text_frame(message: Message) -> bytes:
    """A WebSocket text frame that holds one line for people, or nothing for what they need not see."""
    line = text_line(message)
    return frame(line.encode() + b"\n") if line else b""


def ndjson(message: Message) -> bytes:
    """A line of JSON: notes, and what a reader must know to keep them right."""
    return b"" if isinstance(message, Welcome | Status) else encode(message) + b"\n"


def sse(message: Message) -> bytes:
    """A block of an event stream; notes, deletions and resets reach ``onmessage``, the rest by name.

    Every block that moves the cursor has an id, the welcome too, so that an EventSource resumes
    even if it never received a note. It waits a random time before it reconnects.
    """
    if isinstance(message, Note | Deleted | Reset):
        return b"id: %d\ndata: %b\n\n" % (message.seq, encode(message))
    if isinstance(message, Welcome):
        head = b"retry: %d\nevent: welcome\nid: %d\n" % (random.randint(500, 3000), message.seq)
        return head + b"data: " + encode(message) + b"\n\n"
    if isinstance(message, CaughtUp):
        return b"event: caught_up\nid: %d\ndata: %b\n\n" % (message.seq, encode(message))
    return b"event: %b\ndata: %b\n\n" % (str(type(message).__struct_config__.tag).encode(), encode(message))


def chunk(data: bytes) -> bytes:
    """A chunk of an HTTP/1.1 body (RFC 9112 §7.1); an empty one would end the body, so it is nothing."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def ndjson_chunk(message: Message) -> bytes:
    """A line of JSON as an HTTP chunk."""
    return chunk(ndjson(message))


def sse_chunk(message: Message) -> bytes:
    """An SSE block as an HTTP chunk."""
    return chunk(sse(message))


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


def text_line(message: Message) -> str:
    """The message as a line for people, without a line end; empty if it is none of their business."""
    match message:
        case Note():
            time = message.created_timestamp.strftime("%H:%M:%S")
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
            return f"! {printable(message.message)} - {printable(message.hint)}"
        case Page():
            return "\n".join(text_line(note) for note in message.notes)
        case Ack() | Pong():
            return ""
