"""Messages as lines for people, safe on any terminal.

Owns their wording, and what is replaced in a text so that no terminal obeys it.
"""

from datetime import UTC
from typing import Final

from hub.protocol.messages import Ack, CaughtUp, Deleted, Error, Message, Note, Page, Pong, Reset, Status, Welcome

# Control characters could move a reader's cursor or recolour the terminal, bidirectional overrides could reorder the
# rest of the line.
_UNSAFE: Final = {
    **dict.fromkeys((*range(32), *range(127, 160), *range(8234, 8239), *range(8294, 8298)), "·"),
    **dict.fromkeys((0x0A, 0x0D, 0x2028, 0x2029), " ⏎ "),
    0x09: " ",
}


def printable(text: str) -> str:
    """The text on one line, without anything that a terminal would obey."""
    return text.replace("\r\n", "\n").translate(_UNSAFE)


def text_line(message: Message, local: bool = False) -> str:
    """The message as a line for people, without a line end; empty for what people need not see.

    Times are UTC, or with `local` in this machine's time zone.
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
            return f"* starting afresh at {message.seq}: {printable(message.reason)}"
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
