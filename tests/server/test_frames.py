"""WebSocket frames that RFC 6455 forbids, byte by byte, and what a client sees of the end."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from hub.protocol import TOO_BIG

PROTOCOL_ERROR, NORMAL = 1002, 1000
KEY = b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
TEXT, CLOSE, PING = 1, 8, 9


def frame(opcode: int, payload: bytes, masked: bool = True, final: bool = True) -> bytes:
    """A frame as a client sends it."""
    size, bit = len(payload), 0x80 * masked
    length = bytes((bit | size,)) if size < 126 else bytes((bit | 127,)) + size.to_bytes(8, "big")
    mask = os.urandom(4)
    data = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload[:200])) + payload[200:] if masked else payload
    return bytes((0x80 * final | opcode,)) + length + (mask if masked else b"") + data


def close(code: int) -> bytes:
    return frame(CLOSE, code.to_bytes(2, "big"))


class Raw:
    """A WebSocket of which the test sees every byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def receive(self) -> tuple[int, bytes]:
        """The opcode and the payload of the next frame."""
        first, size = await self.reader.readexactly(2)
        if size > 125:
            size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8), "big")
        return first & 15, await self.reader.readexactly(size)

    async def closing(self) -> int:
        """The code with which the hub closes."""
        while (received := await self.receive())[0] != CLOSE:
            pass
        return int.from_bytes(received[1][:2], "big")


@contextlib.asynccontextmanager
async def connected(address: str) -> AsyncIterator[Raw]:
    parts = urlsplit(address)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        async with asyncio.timeout(10):
            writer.write(
                b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" + KEY + b"\r\n"
            )
            await reader.readuntil(b"\r\n\r\n")
            raw = Raw(reader, writer)
            await raw.receive()  # the welcome
            yield raw
    finally:
        writer.close()


COMMAND = b'{"type":"ping"}'


async def test_unmasked(start_hub) -> None:
    """A frame that is not masked ends the connection with 1002 (§5.1), wherever it stands and however it comes."""
    bad = frame(TEXT, COMMAND, masked=False)
    streams = [
        bad,
        frame(TEXT, COMMAND) + bad,
        frame(TEXT, COMMAND[:3], final=False) + frame(0, COMMAND[3:], masked=False),
        frame(PING, b"", masked=False),
        frame(TEXT, b" " * 70_0 + COMMAND) + frame(CLOSE, b"\x03\xe8", masked=False),
    ]
    async with start_hub() as (_, address):
        for stream in streams:
            for step in (len(stream), 1):
                async with connected(address) as client:
                    for at in range(0, len(stream), step):
                        client.writer.write(stream[at : at + step])
                        await asyncio.sleep(0)
                    assert await client.closing() == PROTOCOL_ERROR, (stream, step)


async def test_masked(start_hub) -> None:
    """Frames of every size that are masked are read, however they are cut."""
    async with start_hub() as (_, address), connected(address) as client:
        for blanks in (0, 100, 130, 65_000):
            stream = frame(TEXT, b" " * blanks + COMMAND) if blanks < 200 else frame(TEXT, COMMAND)
            stream += frame(PING, b"x" * 125) + frame(TEXT, COMMAND[:5], final=False) + frame(0, COMMAND[5:])
            for step in (1, 7, len(stream)):
                for at in range(0, len(stream), step):
                    client.writer.write(stream[at : at + step])
                    await asyncio.sleep(0)
                answers = sorted([await client.receive() for _ in range(3)])
                assert [opcode for opcode, _ in answers] == [TEXT, TEXT, 10] and answers[2][1] == b"x" * 125


@pytest.mark.parametrize(
    ("code", "answer"),
    [(1000, NORMAL), (1001, NORMAL), (3000, NORMAL), (4999, NORMAL)]
    + [(code, PROTOCOL_ERROR) for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535)],
)
async def test_close_codes(start_hub, code: int, answer: int) -> None:
    """A close code that nobody may send is a protocol error (§7.4); any other is answered by a normal close."""
    async with start_hub() as (_, address), connected(address) as client:
        client.writer.write(close(code))
        assert await client.closing() == answer


async def test_a_close_frame_of_one_byte(start_hub) -> None:
    """Half of a code is none (§5.5.1)."""
    async with start_hub() as (_, address), connected(address) as client:
        client.writer.write(frame(CLOSE, b"x"))
        assert await client.closing() == PROTOCOL_ERROR


async def test_too_big_arrives(start_hub) -> None:
    """A client that sends too much at once sees why it is closed: the hub reads the rest before it hangs up."""
    async with start_hub() as (_, address), connected(address) as client:
        client.writer.write(frame(TEXT, b" " * 8_000_000))
        await client.writer.drain()
        assert await client.closing() == TOO_BIG
