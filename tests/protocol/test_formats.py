"""The bytes of each wire format, read by parsers that know nothing of the hub."""

import asyncio
import json
import struct
from datetime import UTC, datetime

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from hub.protocol import (
    Ack,
    CaughtUp,
    Deleted,
    Error,
    Limits,
    Message,
    Note,
    Page,
    Pong,
    Reset,
    Status,
    Welcome,
    formats,
    frames,
)
from hub.protocol.codec import decode_message, encode
from hub.protocol.frames import close_frame
from hub.protocol.text import printable, text_line

MOMENT = datetime(2022, 5, 3, 19, 20, 52, tzinfo=UTC)
WELCOME = Welcome("notes.v1", "0", 9, ["a", "b"], Limits(1, 140, 2, 3, 4.0))


def note(body: str = "Hello World!", **fields: object) -> Note:
    return Note(**{"seq": 7, "rowid": 1, "topic": "lobby", "username": "gb", **fields}, **TIMES, body=body)


TIMES = {"created_timestamp": MOMENT, "updated_timestamp": MOMENT}
ALL = [
    note(),
    Deleted(8, 1, "lobby"),
    Reset(9, "why"),
    Reset(9, "why", "lobby"),
    CaughtUp(9),
    WELCOME,
    Status(True),
    Status(False),
    Ack(1, 7, 1),
    Page([note(), note()], 7, 1),
    Pong(1),
    Error("code", "message", "hint"),
]


def parse(data: bytes) -> tuple[bytes, bytes]:
    """The payload of the first WebSocket frame and the bytes after it, as RFC 6455 §5.2 has it."""
    assert data[0] == 0x81, "final and text, no reserved bit"
    assert not data[1] & 0x80, "a server does not mask"
    length, start = data[1] & 0x7F, 2
    if length == 126:
        (length,), start = struct.unpack(">H", data[2:4]), 4
        assert length > 125
    elif length == 127:
        (length,), start = struct.unpack(">Q", data[2:10]), 10
        assert length > 65535
    return data[start : start + length], data[start + length :]


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65535, 65536, 70000])
def test_frame_lengths(length: int) -> None:
    """A frame states its length in the shortest of the three forms, and exactly."""
    payload = b"x" * length
    assert parse(frames.frame(payload)) == (payload, b"")


async def test_frames_are_understood(aiohttp_client) -> None:
    """A WebSocket client takes frames of every size, several in one write, as text messages."""
    payloads = ["x" * length for length in (0, 125, 126, 65535, 65536)]

    async def serve(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        assert request.transport
        request.transport.write(b"".join(frames.frame(payload.encode()) for payload in payloads))
        await socket.receive()
        return socket

    app = web.Application()
    app.add_routes([web.get("/", serve)])
    client = await aiohttp_client(app)
    async with client.ws_connect("/") as socket, asyncio.timeout(5):
        for payload in payloads:
            message = await socket.receive()
            assert (message.type, message.data) == (aiohttp.WSMsgType.TEXT, payload)


@pytest.mark.parametrize("message", ALL)
def test_json_frame(message: Message) -> None:
    """The JSON frame of every message holds just that message."""
    payload, rest = parse(formats.json_frame(message))
    assert decode_message(payload) == message and not rest


@pytest.mark.parametrize("message", ALL)
def test_ndjson(message: Message) -> None:
    """A message is one line of JSON; the greeting and the status are left out, a reader needs them not."""
    line = formats.ndjson(message)
    if isinstance(message, Welcome | Status):
        assert line == b""
    else:
        assert line.endswith(b"\n") and line.count(b"\n") == 1 and decode_message(line) == message


def parse_sse(block: bytes) -> dict[str, str]:
    """The fields of one block of an event stream."""
    *lines, end, rest = block.decode().split("\n")
    assert (end, rest) == ("", "") and all(": " in line for line in lines)
    return dict(line.split(": ", 1) for line in lines)


@pytest.mark.parametrize("position", [None, 7])
@pytest.mark.parametrize("message", ALL)
def test_sse(message: Message, position: int | None) -> None:
    """Events reach onmessage, others their listener by name; the position, where there is one, is the id."""
    fields = parse_sse(formats.sse(message, position))
    assert decode_message(fields["data"]) == message
    is_event = isinstance(message, Note | Deleted | Reset)
    assert fields.get("event") == (None if is_event else json.loads(encode(message))["type"])
    assert fields.get("id") == (None if position is None else str(position))


def test_sse_retry() -> None:
    """The greeting tells a browser to come back after a random time, so that not all come at once."""
    times = {int(parse_sse(formats.sse(WELCOME))["retry"]) for _ in range(50)}
    assert len(times) > 10 and min(times) >= 500 and max(times) <= 3000


@given(st.lists(st.binary(), max_size=5))
def test_chunks(parts: list[bytes]) -> None:
    """Chunks give back the data, and never an empty one, which would end the body."""
    data, body = b"".join(formats.chunk(part) for part in parts), b""
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        assert length > 0 and data[length : length + 2] == b"\r\n"
        body, data = body + data[:length], data[length + 2 :]
    assert body == b"".join(parts)


def test_chunked_formats() -> None:
    """The chunked formats are the plain ones in a chunk, and nothing where those are nothing."""
    assert formats.ndjson_chunk(note()) == formats.chunk(formats.ndjson(note()))
    assert formats.sse_chunk(note()) == formats.chunk(formats.sse(note()))
    assert formats.ndjson_chunk(Status(True)) == b""


def test_text_line_of_a_note() -> None:
    """A note reads: when, where, who, what."""
    assert text_line(note()) == "19:20:52 #lobby gb: Hello World!"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_printable(text: str) -> None:
    """No text can leave its line, or give an order to a terminal."""
    shown = printable(text)
    assert shown.splitlines() in ([], [shown])
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in shown)
    assert not set("\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069") & set(shown)


def test_a_close_reason_is_cut_between_characters() -> None:
    """A reason that is too long stays valid UTF-8, and as long as a control frame can hold."""
    for reason in ("x" * 124, "é" * 62, "x" + "é" * 62, "日" * 42, "😀" * 31):
        sent = close_frame(1001, reason)
        assert sent[1] == len(sent) - 2 <= 125
        assert reason.startswith(sent[4:].decode()) and len(sent) - 4 > 119
    assert close_frame(1001, "bye") == b"\x88\x05\x03\xe9bye"


def test_printable_keeps_what_is_harmless() -> None:
    """Letters of any script and emoji stay; a line break and a tab stay visible as such."""
    for text in ("héllo wörld", "日本語", "שלום", "👩‍👩‍👧 ok"):
        assert printable(text) == text
    assert printable("a\r\nb\nc\td\x1b[31me") == "a ⏎ b ⏎ c d·[31me"


@pytest.mark.parametrize("field", ["topic", "username", "body"])
def test_text_line_is_harmless(field: str) -> None:
    """An escape, a line break or a bidi override in any field of a note or an error does not reach the terminal."""
    evil = "a\x1b[2J\x9b1m\r\nb\u202ec\u2028d\x07\b"
    line = text_line(note(**{field: evil}))
    assert printable(line) == line and "a·[2J·1m ⏎ b·c ⏎ d··" in line
    for message in (Error("x", evil, evil), Deleted(1, 1, evil), Reset(1, evil), msg_welcome(evil)):
        assert printable(text_line(message)) == text_line(message)


def msg_welcome(topic: str) -> Welcome:
    return Welcome("notes.v1", "0", 9, [topic], Limits(1, 140, 2, 3, 4.0))


def test_text_lines_for_people() -> None:
    """Each message that concerns a person is one line that says so; an error starts with an exclamation mark."""
    lines = {type(message).__name__: text_line(message) for message in ALL}
    assert lines["Error"] == "! message hint"
    assert lines["Welcome"] == "* connected to #a #b at 9"
    assert lines["CaughtUp"] == "* up to date at 9; resume with after=9"
    assert lines["Deleted"] == "* note 1 was deleted from #lobby"
    assert "afresh at 9: why" in lines["Reset"]
    assert lines["Page"].split("\n") == [text_line(note())] * 2
    assert text_line(Status(True)) != text_line(Status(False))
    assert text_line(Welcome("notes.v1", "0", 9, [], WELCOME.limits)) == "* connected to no topic at 9"


def test_text_frame() -> None:
    """A text frame is the line and its end; acks and pongs, of no interest to people, are no bytes at all."""
    assert parse(formats.text_frame(note())) == (text_line(note()).encode() + b"\n", b"")
    assert formats.text_frame(Ack(1)) == formats.text_frame(Pong(1)) == b""
