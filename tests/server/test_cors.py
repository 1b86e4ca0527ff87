"""Which pages may use the hub: what a browser is told, and what is refused whatever it was told."""

import aiohttp
import asyncpg
import pytest

FRIEND = "https://friend.example"
EVIL = ["https://evil.example", "null", "http://[", "", "https://friend.example.evil.example", "http://friend.example"]
NOTE = '{"username":"gb","body":"x"}'


async def ask(address: str, method: str, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        aiohttp.ClientSession() as http,
        http.request(method, address + path, headers=given, data=NOTE if method == "POST" else None) as reply,
    ):
        return reply.status, dict(reply.headers), await reply.read()


@pytest.mark.parametrize("path", ["/notes", "/", "/listen_notes", "/notes/7", "/anything"])
async def test_preflight(start_hub, path: str) -> None:
    """A page on the list is told at once what it may send, wherever to."""
    async with start_hub(allowed_origins=f"{FRIEND}/") as (_, address):
        status, headers, body = await ask(
            address,
            "OPTIONS",
            path,
            Origin=FRIEND,
            Access_Control_Request_Method="POST",
            Access_Control_Request_Headers="content-type",
        )
    assert (status, body) == (204, b"")
    assert headers["Access-Control-Allow-Origin"] == FRIEND and "Origin" in headers["Vary"]
    assert {"GET", "POST"} <= set(headers["Access-Control-Allow-Methods"].split(", "))
    assert "Content-Type" in headers["Access-Control-Allow-Headers"] and int(headers["Access-Control-Max-Age"]) > 0


async def test_the_page_of_the_walkthrough(start_hub) -> None:
    """With the defaults a page served by `python -m http.server 8000` may, as in the original's walkthrough."""
    async with start_hub() as (_, address):
        for origin in ("http://localhost:8000", "http://127.0.0.1:8000", address):
            status, headers, _ = await ask(address, "POST", "/notes", Origin=origin)
            assert (status, headers["Access-Control-Allow-Origin"]) == (201, origin)


@pytest.mark.parametrize("origin", EVIL)
async def test_a_foreign_page(start_hub, database: asyncpg.Connection, origin: str) -> None:
    """A page that is not on the list cannot publish, nor read a reply, nor learn from a preflight that it may."""
    async with start_hub(allowed_origins=FRIEND) as (_, address):
        status, headers, body = await ask(address, "POST", "/notes", Origin=origin)
        assert status == 403 and b"forbidden_origin" in body and "Access-Control-Allow-Origin" not in headers
        status, headers, _ = await ask(address, "GET", "/notes", Origin=origin)
        assert status == 200 and "Access-Control-Allow-Origin" not in headers and "Origin" in headers["Vary"]
        status, headers, _ = await ask(address, "OPTIONS", "/notes", Origin=origin)
        assert status == 403 and "Access-Control-Allow-Origin" not in headers
    assert await database.fetchval("select count(*) from note") == 0


async def test_any_page(start_hub) -> None:
    """With a star every page may."""
    async with start_hub(allowed_origins="*") as (_, address):
        for origin in EVIL[:3]:
            status, headers, _ = await ask(address, "POST", "/notes", Origin=origin)
            assert (status, headers["Access-Control-Allow-Origin"]) == (201, "*")


async def test_behind_a_proxy(start_hub) -> None:
    """The hub's own page may, by whatever name it is reached and whether or not a proxy took off the TLS."""
    async with start_hub(allowed_origins="", allowed_hosts="notes.example") as (_, address):
        status, _, _ = await ask(address, "POST", "/notes", Origin="https://notes.example", Host="notes.example")
        assert status == 201
        status, _, _ = await ask(address, "POST", "/notes", Origin="https://notes.example:444", Host="notes.example")
        assert status == 403


async def test_programs(start_hub) -> None:
    """What is no browser sends no Origin, and gets no CORS headers."""
    async with start_hub(allowed_origins="") as (_, address):
        status, headers, _ = await ask(address, "POST", "/notes")
        assert status == 201 and not any(name.startswith("Access-Control") for name in headers)


async def test_errors_can_be_read(start_hub) -> None:
    """A page on the list can read errors, too: they have the same headers."""
    async with start_hub(allowed_origins=FRIEND) as (_, address):
        for method, path in (
            ("GET", "/nothing"),
            ("DELETE", "/notes"),
            ("GET", "/notes?limit=0"),
            ("GET", "/listen_notes?last=0"),
        ):
            status, headers, _ = await ask(address, method, path, Origin=FRIEND)
            assert status >= 400 and headers["Access-Control-Allow-Origin"] == FRIEND, path
