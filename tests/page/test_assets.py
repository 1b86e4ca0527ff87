"""What a browser may fetch for the page, and how."""

import gzip
import re

import aiohttp
import pytest
from structlog.testing import capture_logs

from hub.page.assets import PYTHON, SHARED, Assets
from hub.settings import PACKAGE

PERSON = {"Accept": "text/html", "Accept-Encoding": "identity"}
DATA = '<script id="data" type="application/json">'  # the only script of a page without scripts
POLICY = ("script-src 'self' 'wasm-unsafe-eval'", "frame-ancestors 'none'", "object-src 'none'", "base-uri 'none'")


@pytest.fixture
async def http(start_hub):
    async with start_hub() as (_, address), aiohttp.ClientSession(address, auto_decompress=False) as session:
        yield session


async def test_the_page_is_fenced_in(http: aiohttp.ClientSession) -> None:
    """No script of others, no frame around it, no guessing of types, no address told to other sites."""
    for path in ("/", "/t/x", "/?before=9", "/t/*"):
        reply = await http.get(path, headers={"Accept": "text/html"})
        policy = reply.headers["Content-Security-Policy"]
        assert all(rule in policy for rule in POLICY) and "unsafe-eval'" not in policy.replace("wasm-unsafe-eval'", "")
        assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["Referrer-Policy"] == "same-origin"
        assert reply.headers["Cache-Control"] == "no-store"


async def test_everything_that_the_page_names_is_there(http: aiohttp.ClientSession) -> None:
    """Each address in the page answers with its type, may be kept for ever, and comes compressed."""
    page = gzip.decompress(await (await http.get("/", headers={"Accept-Encoding": "gzip"})).read()).decode()
    named = set(re.findall(r"/(?:assets|page)/[^\s\"&]+", page))
    types = {"py": "text/x-python", "css": "text/css", "svg": "image/svg+xml", "js": "text/javascript"}
    types |= {
        "mjs": "text/javascript",
        "wasm": "application/wasm",
        "zip": "application/zip",
        "json": "application/json",
    }
    assert len(named) > 10
    for path in named:
        reply = await http.get(path, headers={"Accept-Encoding": "br, gzip"})
        data = await reply.read()
        assert reply.status == 200 and data, path
        assert reply.content_type == types.get(path.rpartition(".")[2], "application/octet-stream")
        assert "immutable" in reply.headers["Cache-Control"] and "Accept-Encoding" in reply.headers["Vary"]
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        if path.startswith("/page/"):
            assert reply.headers["Content-Encoding"] == "gzip"
            plain = await (await http.get(path, headers={"Accept-Encoding": "identity"})).read()
            assert gzip.decompress(data) == plain


async def test_nothing_else_is_served(http: aiohttp.ClientSession) -> None:
    """Neither other modules of the hub, nor files beside, nor a way out of the folder."""
    base = Assets().base
    for path in (
        *(f"{base}hub/{name}.py" for name in ("store", "app", "settings")),
        *(f"{base}{name}" for name in ("index.html", "build.py", "../setup.cfg", "%2e%2e/setup.cfg", "hub/")),
        *("/assets/manifest.json", "/assets/../index.html", "/assets/%2e%2e/build.py", "/assets/", "/page/0/page.css"),
    ):
        assert (await http.get(path)).status == 404, path


async def test_the_browser_gets_the_hubs_own_modules(http: aiohttp.ClientSession) -> None:
    """What runs in the browser is, to the letter, what runs here."""
    sources = await (await http.get(Assets().own(PYTHON), headers={"Accept-Encoding": "identity"})).json()
    for name in SHARED:
        assert sources[f"hub/{name}.py"] == (PACKAGE / f"{name}.py").read_text("utf-8")


def test_a_change_is_another_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Since browsers keep files for ever, a changed file has another address."""
    before = Assets().base
    monkeypatch.setattr("hub.page.assets._own_files", lambda folder: {"page.css": b"changed"})
    assert Assets().base != before


async def test_a_page_without_scripts_says_so(monkeypatch: pytest.MonkeyPatch, start_hub) -> None:
    """Where the assets were not built, the page tells its reader, and the log says what to do about it."""
    monkeypatch.setattr("hub.page.assets._manifest", lambda folder: None)
    with capture_logs() as logs:
        async with start_hub() as (_, address), aiohttp.ClientSession(address) as http:
            text = await (await http.get("/", headers=PERSON)).text()
            past = await (await http.get("/?before=9", headers=PERSON)).text()
    assert "scripts were not built" in text and text.count("<script") == text.count(DATA) == 1
    assert "were not built" not in past
    (warning,) = (each for each in logs if each["event"] == "page_without_scripts")
    assert warning["log_level"] == "warning" and "make assets" in warning["mend"]


async def test_a_prepared_page_warns_of_nothing(start_hub) -> None:
    """A hub with its assets says nothing of them."""
    with capture_logs() as logs:
        async with start_hub():
            pass
    assert not [each for each in logs if each["event"] == "page_without_scripts"]


async def test_a_refused_form_is_a_page(http: aiohttp.ClientSession) -> None:
    """A browser's form is refused with a page that holds what was typed, escaped, and the same words as JSON has."""
    fields = {"topic": "a b", "username": '"><b>', "body": "x" * 141}
    reply = await http.post("/notes", data=fields, headers=PERSON)
    text, json = await reply.text(), await (await http.post("/notes", data=fields)).json()
    assert reply.status == 400 and reply.content_type == "text/html"
    assert json["message"] in text and 'value="&quot;&gt;&lt;b&gt;"' in text and "x" * 141 in text
    assert 'data-topic="a b"' in text


async def test_errors_for_people(http: aiohttp.ClientSession) -> None:
    """Who asks with a browser for what is not there gets a page, other programs get JSON."""
    for path, status in (("/nothing", 404), ("/t/%00", 400), ("/t/" + "x" * 141, 400), ("/?before=x", 400)):
        reply = await http.get(path, headers=PERSON)
        assert reply.status == status and reply.content_type == "text/html" and "To the lobby" in await reply.text()
        assert (await http.get(path)).content_type == "application/json"
