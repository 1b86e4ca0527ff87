"""The WebSocket below a session: what the library lets pass and RFC 6455 does not.

Owns the checks that stand around aiohttp's reader: every frame of a client is masked (§5.1), and a close frame has a
code that may be sent (§7.4). It writes nothing: the session answers with the close frame, through `Outgoing`.
"""

from typing import Any, Final

from aiohttp import WebSocketError, WSCloseCode, WSMessage, WSMsgType, web

_REFUSED: Final = b"\x8f\x80"  # the header of a frame that the reader refuses, with 1002: its opcode is reserved
_MASKED: Final = 0x80
_HEADER: Final = {126: 4, 127: 10}  # bytes of a header without its mask, by the size in its second byte; else 2
_MASK: Final = 4  # bytes


class MaskCheck:
    """Stands before a reader, and spoils the first frame that is not masked, so that the reader refuses it.

    It looks at headers only. What it passes on never ends within a header, so it can still spoil that.
    """

    __slots__ = ("_held", "_reader", "_skip")

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self._held = b""  # the beginning of a header
        self._skip = 0  # bytes to come of a frame whose header was passed on

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Pass on what was received. Returns what the reader returns: whether it has ended, and the rest."""
        data, at = self._held + data, self._skip
        end, self._held = len(data), b""
        while at < end:
            size = data[at + 1] & 0x7F if at + 1 < end else 127
            header = _HEADER.get(size, 2)
            if at + 1 < end and not data[at + 1] & _MASKED:
                return self._pass_on(data[:at] + _REFUSED)
            if at + header > end:
                self._held, data = data[at:], data[:at]
                break
            if header > 2:
                size = int.from_bytes(data[at + 2 : at + header], "big")
            at += header + _MASK + size
        self._skip = max(0, at - end)
        return self._pass_on(data)

    def _pass_on(self, data: bytes) -> tuple[bool, bytes]:
        done: tuple[bool, bytes] = self._reader.feed_data(data) if data else (False, b"")
        return done

    def feed_eof(self) -> None:
        """Tell the reader that the connection has ended."""
        self._reader.feed_eof()


class Socket(web.WebSocketResponse):
    """A WebSocket whose `receive` gives an ERROR for whatever breaks the RFC, with a WebSocketError."""

    async def receive(self, timeout: float | None = None) -> Any:
        """The next message."""
        message = await super().receive(timeout)
        if message.type is WSMsgType.CLOSE and not _may_be_sent(message.data):
            error = WebSocketError(WSCloseCode.PROTOCOL_ERROR, f"invalid close code {message.data}")
            return WSMessage(WSMsgType.ERROR, error, None)
        return message

    async def close(self, *, code: int = WSCloseCode.OK, message: bytes = b"", drain: bool = True) -> bool:
        """Close, but not with an error: the library would write past `Outgoing` and hang up with data unread."""
        return code == WSCloseCode.OK and await super().close(code=code, message=message, drain=drain)


def _may_be_sent(code: int) -> bool:
    """Whether a close code may be in a frame; 0 stands for none. The reader has refused the other ones below 3000."""
    return code != WSCloseCode.ABNORMAL_CLOSURE and code < 5000
