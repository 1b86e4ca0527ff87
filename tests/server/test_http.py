"""What is no proper HTTP, and what every answer has in common: seen byte by byte."""

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit

import pytest
from structlog.testing import capture_logs

NOTE = b'{"username":"gb","body":"x"}'


async def raw(address: str, data: bytes, until: bytes = b"") -> tuple[int, dict[str, str], bytes]:
    """Send bytes, and read status, headers and body of the answer until the hub hangs up, or to these bytes."""
    parts = urlsplit(address)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        writer.write(data)
        async with asyncio.timeout(5):
            answer = await (reader.readuntil(until) if until else reader.read())
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(status.split()[1]), headers, body


def request(line: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    """A request whose connection ends after it."""
    return b"\r\n".join((line, b"Host: localhost", b"Connection: close", *headers, b"", body))


def get(target: bytes, *headers: bytes) -> bytes:
    return request(b"GET " + target + b" HTTP/1.1", *headers)


MALFORMED: list[tuple[bytes, int, str]] = [
    (b"this is no HTTP\r\n\r\n", 400, "bad_request"),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "bad_request"),
    (b"GET / HTTP/9.9\r\n\r\n", 400, "bad_request"),
    (b"GET / HTTP/1.1\r\n\r\n", 400, "bad_request"),
    (get(b"/", b"Bad Header: x"), 400, "bad_request"),
    (get(b"/", b"Content-Length: x"), 400, "bad_request"),
    (get(b"/", b"X-Long: " + b"x" * 9000), 431, "request_header_fields_too_large"),
    (get(b"/", *[b"X-%d: x" % number for number in range(200)]), 400, "bad_request"),
    (get(b"/notes?topic=" + "grün".encode("latin-1")), 400, "bad_request"),
    (get(b"/ws?topic=" + b"x" * 9000, b"Upgrade: websocket"), 414, "uri_too_long"),
    (get(b"/?" + b"x" * 500_000), 414, "uri_too_long"),
]


@pytest.mark.parametrize("number", range(len(MALFORMED)))
async def test_malformed(start_hub, number: int) -> None:
    """Whatever is no proper HTTP gets a JSON error with a hint, the end of the connection, and one line of the log."""
    data, expected, code = MALFORMED[number]
    async with start_hub() as (_, address):
        with capture_logs() as logs:
            status, headers, body = await raw(address, data)
    error = json.loads(body)
    assert (status, error["type"], error["code"]) == (expected, "error", code) and error["message"] and error["hint"]
    assert headers["connection"] == "close" and headers["content-type"].startswith("application/json")
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("malformed_request", "info")]
    assert "exc_info" not in logs[0] and logs[0]["status"] == expected and "\n" not in logs[0]["reason"]


async def test_a_long_address_says_how(start_hub) -> None:
    """A client with too many topics for its address is told to subscribe to them afterwards."""
    topics = b"&".join(b"topic=%060d" % number for number in range(128))
    async with start_hub() as (_, address):
        status, _, body = await raw(address, get(b"/ws?" + topics, b"Upgrade: websocket"))
    assert status == 414 and "subscribe to the rest after the welcome" in json.loads(body)["hint"]


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
async def test_not_ascii_in_an_address(start_hub, encoding: str) -> None:
    """An address that was not percent-encoded is refused with a hint that shows how."""
    async with start_hub() as (_, address):
        status, _, body = await raw(address, get("/notes?topic=grün".encode(encoding)))
    assert status == 400 and "gr%C3%BCn" in json.loads(body)["hint"]


@pytest.mark.parametrize("coding", [b"gzip", b"deflate", b"br"])
async def test_a_body_that_cannot_be_decoded(start_hub, coding: bytes) -> None:
    """A body that is not what its Content-Encoding says is the client's mistake."""
    head = (b"Content-Encoding: " + coding, b"Content-Length: %d" % len(NOTE))
    async with start_hub() as (_, address):
        with capture_logs() as logs:
            status, _, body = await raw(address, request(b"POST /notes HTTP/1.1", *head, body=NOTE))
    error = json.loads(body)
    assert status == 400 and error["code"] in ("invalid_body", "bad_request") and error["message"]
    assert not [entry for entry in logs if entry["log_level"] == "error"]


async def test_a_bug_is_one_line(start_hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the hub itself does wrongly is a 500 that says so in JSON, and one entry of the log with its traceback."""
    async with start_hub() as (hub, address):

        async def broken(*_: Any) -> Any:
            raise ZeroDivisionError("a bug")

        monkeypatch.setattr(hub.store, "notes", broken)
        with capture_logs() as logs:
            status, _, body = await raw(address, get(b"/notes"))
    assert status == 500 and json.loads(body)["code"] == "internal_server_error" and b"bug" not in body
    assert [entry["event"] for entry in logs] == ["request_failed"] and isinstance(logs[0]["exc_info"], Exception)


UPGRADE = (b"Upgrade: websocket", b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")


async def test_no_versions(start_hub) -> None:
    """No answer tells what the hub is made of, not even one that never reaches an address."""
    websocket = b"\r\n".join((b"GET /ws HTTP/1.1", b"Host: localhost", b"Connection: Upgrade", *UPGRADE, b"", b""))
    asked = [get(b"/"), get(b"/nothing"), get(b"/notes"), get(b"/t?topic=a"), MALFORMED[0][0], websocket]
    asked += [get(b"/notes", b"Expect: x"), request(b"OPTIONS / HTTP/1.1"), get(b"/ws")]
    async with start_hub() as (_, address):
        for data in asked:
            status, headers, body = await raw(address, data, until=b"\r\n\r\n" if data is websocket else b"")
            assert headers.get("server", "notes-hub") == "notes-hub", data
            assert status < 400 or json.loads(body)["code"], (data, status, body)


async def test_repeated_parameters(start_hub) -> None:
    """What may be given once only is refused when it is there twice, on every address."""
    async with start_hub() as (_, address):
        for target in (
            b"/notes?limit=1&limit=2",
            b"/notes?topic=a&topic=b",
            b"/?before=1&before=2",
            b"/t?topic=a&topic=b",
        ):
            status, _, body = await raw(address, get(target))
            assert status == 400 and json.loads(body)["code"] == "invalid_address" and b"twice" in body, target
