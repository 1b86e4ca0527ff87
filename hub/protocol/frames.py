"""WebSocket frames as a server sends them (RFC 6455 §5).

Owns their bytes and nothing of what is in them. A server never masks, so a frame is the same for every client.
"""

from typing import Final

PING_FRAME: Final = b"\x89\x00"
MOST_REASON: Final = 123  # bytes of a close frame's reason: a control frame holds 125 (RFC 6455 §5.5)


def frame(payload: bytes) -> bytes:
    """A text frame: final, not masked (RFC 6455 §5.2)."""
    length = len(payload)
    if length < 126:
        return bytes((0x81, length)) + payload
    if length < 1 << 16:
        return b"\x81\x7e" + length.to_bytes(2, "big") + payload
    return b"\x81\x7f" + length.to_bytes(8, "big") + payload


def pong_frame(payload: bytes) -> bytes:
    """The answer to a ping with this payload (RFC 6455 §5.5.3)."""
    return bytes((0x8A, len(payload))) + payload


def close_frame(code: int, reason: str) -> bytes:
    """A close frame. A longer reason is cut between two characters, since it must be UTF-8 (RFC 6455 §5.5.1)."""
    cut = reason.encode()[:MOST_REASON].decode(errors="ignore")
    payload = code.to_bytes(2, "big") + cut.encode()
    return bytes((0x88, len(payload))) + payload
