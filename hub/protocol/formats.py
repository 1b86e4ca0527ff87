"""Wire formats: a message as the bytes that a socket takes.

Owns one function for each kind of connection: a WebSocket frame with JSON or with a line of text, a line of JSON
(ndjson), an SSE block, and the last two as HTTP chunks. The bytes are the same for every client, so they are made once
for all.
"""

import random
from typing import Protocol

from hub.protocol.codec import encode
from hub.protocol.frames import frame
from hub.protocol.messages import Deleted, Message, Note, Reset, Status, Welcome
from hub.protocol.text import text_line


class Format(Protocol):
    """A wire format. Messages that its readers need not know are b""."""

    def __call__(self, message: Message, position: int | None = None, /) -> bytes:
        """The bytes of a message; `position` is the cursor of a client that has this message and all before it."""


def json_frame(message: Message, position: int | None = None) -> bytes:
    """A WebSocket text frame that holds the message as JSON."""
    return frame(encode(message))


def text_frame(message: Message, position: int | None = None) -> bytes:
    """A WebSocket text frame that holds one line for people, or nothing for a message that they need not see."""
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
