"""An event: one entry of the log, with its bytes.

Owns how an event is kept in memory: its message is encoded once for each wire format. It does not know what the
message is about; each source makes its own events.
"""

from hub.protocol import Message
from hub.protocol.formats import Format

SIZE = 1200  # bytes that an event takes in memory, about: its objects, short texts, one or two encodings


class Event:
    """One entry of the log.

    `message` is None for an entry to pass over: its row is gone or elsewhere since, and a later entry says so. `topic`
    is None for what concerns every topic. `size` is about how many bytes of memory it holds.
    """

    __slots__ = ("_encoded", "message", "seq", "size", "topic")

    def __init__(self, seq: int, topic: str | None, message: Message | None, size: int = SIZE) -> None:
        self.seq = seq
        self.topic = topic
        self.message = message
        self.size = size
        self._encoded: dict[Format, bytes] = {}

    def encoded(self, format: Format) -> bytes:
        """The bytes of this event in a format, made once for all clients."""
        data = self._encoded.get(format)
        if data is None:
            data = self._encoded[format] = b"" if self.message is None else format(self.message, self.seq)
        return data
