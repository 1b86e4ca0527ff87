"""Which hosts and which pages every address may be used by: the table of both."""

import itertools
from typing import Any

import aiohttp

from hub.protocol import FORBIDDEN, Error
from hub.protocol.codec import decode_message
from hub.settings import Settings

NOTE = '{"username":"gb","body":"x"}'
FOREIGN = "https://evil.example"
INTERFACES = [
    ("GET", "/"),
    ("GET", "/notes"),
    ("POST", "/notes"),
    ("GET", "/ws"),
    ("GET", "/listen_notes?last=1"),
    ("GET", "/metrics"),
]
LOOPBACK = ["http://localhost:5173", "http://127.0.0.1:3000", "http://[::1]:3000", "https://app.localhost"]


async def ask(http: aiohttp.ClientSession, method: str, url: str, headers: dict[str, str]) -> tuple[int, Any]:
    """The status and the error, if it is one; of a WebSocket that is closed at once, the close code."""
    if "/ws" in url:
        try:
            async with http.ws_connect(url, headers=headers) as socket:
                first = decode_message((await socket.receive(timeout=5)).data)
                code = (await socket.receive(timeout=5)).data if isinstance(first, Error) else 101
                return code, getattr(first, "code", None)
        except aiohttp.WSServerHandshakeError as error:
            return error.status, None
    data = NOTE if method == "POST" else None
    async with http.request(method, url, headers=headers, data=data, allow_redirects=False) as reply:
        if reply.status < 400:
            return reply.status, None
        return reply.status, await reply.json()


async def test_the_table(start_hub) -> None:
    """On every address a foreign host is refused with 421, whatever the origin; a foreign page may not change."""
    async with start_hub() as (_, address), aiohttp.ClientSession() as http:
        port = address.rpartition(":")[2]
        hosts = [f"localhost:{port}", f"evil.example:{port}"]
        for (method, path), host in itertools.product(INTERFACES, hosts):
            for origin in (None, f"http://{host}", LOOPBACK[0], FOREIGN):
                headers = {"Host": host} | ({"Origin": origin} if origin else {})
                status, body = await ask(http, method, address + path, headers)
                what = (method, path, host, origin, status)
                if host == hosts[1]:
                    assert status == 421, what
                    assert body is None or (body["code"], "HUB_ALLOWED_HOSTS" in body["hint"]) == (
                        "misdirected_request",
                        True,
                    )
                elif origin == FOREIGN and path == "/ws":
                    assert (status, body) == (FORBIDDEN, "forbidden_origin"), what
                elif origin == FOREIGN and method == "POST":
                    assert status == 403, what
                else:
                    assert status == {"/ws": 101}.get(path, 201 if method == "POST" else 200), what


ALLOWED = ["127.0.0.1", "127.8.9.1:99", "[::1]:8080", "[::1]", "LOCALHOST", "localhost.:80", "notes.localhost"]
ALLOWED += ["notes.example:8443", "Notes.Example"]
REFUSED = ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "evillocalhost", "192.168.1.7"]
REFUSED += ["0.0.0.0", "notes.example@evil.example", "localhost@evil.example", "", "[::1", "[::1].evil.example"]


async def test_hosts(start_hub) -> None:
    """Loopback names and those of the list may, with any port and in any case; nothing that only looks like them."""
    async with start_hub(allowed_hosts="notes.example") as (_, address), aiohttp.ClientSession() as http:
        for host in ALLOWED + REFUSED:
            status, _ = await ask(http, "GET", address + "/healthz", {"Host": host})
            assert status == (200 if host in ALLOWED else 421), host


def test_where_any_host_may() -> None:
    """A hub for other machines takes any host, unless it has a list; a star is any host; loopback is always one."""
    assert Settings(host="0.0.0.0").hosts is None and Settings(host="").hosts is None
    assert Settings(allowed_hosts="*").hosts is None
    assert Settings(host="0.0.0.0", allowed_hosts="A.example, b").hosts == {"a.example", "b"}
    assert Settings().hosts == Settings(host="::1").hosts == Settings(host="localhost").hosts == frozenset()


IMPOSTORS = ["http://localhost.evil.example", "null", "file://", "http://[", "http://evil@[::1", "http://evillocalhost"]


async def test_pages_of_this_machine(start_hub) -> None:
    """On loopback the pages of any server of this machine may use the hub, and nothing that only looks like them."""
    async with start_hub() as (_, address), aiohttp.ClientSession() as http:
        for origin in LOOPBACK + IMPOSTORS:
            status, _ = await ask(http, "POST", address + "/notes", {"Origin": origin})
            assert status == (201 if origin in LOOPBACK else 403), origin


async def test_pages_of_this_machine_elsewhere(start_hub) -> None:
    """A hub for other machines takes only the listed pages, since this machine is somebody else's there."""
    async with start_hub(host="0.0.0.0") as (_, address), aiohttp.ClientSession() as http:
        address = address.replace("0.0.0.0", "127.0.0.1")
        for origin in LOOPBACK:
            assert (await ask(http, "POST", address + "/notes", {"Origin": origin}))[0] == 403
