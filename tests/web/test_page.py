"""The page in a real Chromium: what people see and do, and what survives."""

import asyncio
import json
import signal

import aiohttp
import asyncpg
import pytest
from playwright.async_api import WebSocketRoute

from hub.page import assets
from tests.browser import PYTHON_READY, Chromium, People, people
from tests.conftest import connected, name_of, with_name
from tests.programs import hub_process, output, psql

# The browser and all that a test awaits live on one loop.
pytestmark = pytest.mark.asyncio(loop_scope="session")
INSERT = "insert into note (username, body) values ($1, $2)"


async def test_without_javascript(everyone: People, database: asyncpg.Connection) -> None:
    """Notes are read, written and refused without a script; the name is remembered and a refused text kept."""
    await database.execute(INSERT, "ada", "there before")
    tab = await everyone.join("/t/caf%C3%A9%20%26%20bar", until="#body", java_script_enabled=False)
    assert "No notes yet" in await tab.page.inner_text("#notes")
    await tab.page.fill("#username", "gb ü")
    await tab.page.fill("#body", "first\nnote")
    await tab.page.click("#send")
    await tab.sees("first note")
    assert tab.page.url.endswith("/t/caf%C3%A9%20&%20bar")
    assert await tab.page.input_value("#username") == "gb ü"
    assert await database.fetchval("select body from note where topic = 'café & bar'") == "first\nnote"
    await tab.page.fill("#body", "  ")
    await tab.page.click("#send")
    assert "needs at least one visible character" in await tab.page.inner_text("#body-problem")
    assert await tab.page.input_value("#body") == "  "
    tab.complaints.clear()  # of the page's own status 400
    await tab.open("/", until="#body")
    await tab.sees("there before")


async def test_two_tabs_and_psql(everyone: People, url: str) -> None:
    """What one tab writes, and what psql inserts, edits and deletes, every tab of the topic shows, once, in order."""
    one, two = await everyone.join(), await everyone.join()
    assert any("after=" in asked for asked in one.asked)  # it goes on where the HTML ended
    other = await everyone.join("/t/other")
    await one.write("from one", "ada")
    await two.sees("from one")
    await two.write("from two", "gb")
    await one.sees("from two")
    await output(*psql(url, "-c", "insert into note (username, body) values ('psql', 'Hello World!')"))
    for tab in (one, two):
        await tab.sees("Hello World!")
        assert await tab.texts() == ["from one", "from two", "Hello World!"]
    await output(*psql(url, "-c", "update note set body = 'Hello again!' where username = 'psql'"))
    await output(*psql(url, "-c", "delete from note where body = 'from two'"))
    for tab in (one, two):
        await tab.page.get_by_text("edited").wait_for()
        await tab.note("from two").wait_for(state="detached")
        assert await tab.texts() == ["from one", "Hello again! edited"]
    assert await other.texts() == []


async def test_hub_killed_while_both_type(url: str, browser: Chromium, unused_tcp_port: int) -> None:
    """Two people go on writing while the hub is killed and comes back: every note arrives once at both."""
    async with people(browser, f"http://127.0.0.1:{unused_tcp_port}") as everyone:
        async with hub_process(url, unused_tcp_port) as hub:
            one, two = await everyone.join(), await everyone.join()
            await one.write("before 1", "ada")
            await two.write("before 2", "gb")
            await asyncio.gather(one.sees("before 2"), two.sees("before 1"))
            await hub.end(signal.SIGKILL)
        await asyncio.gather(one.state("unreachable"), two.state("unreachable"))
        assert "hub can’t be reached" in await one.page.inner_text("#status")
        await one.write("meanwhile 1")
        await two.write("meanwhile 2")
        assert "Waits for the connection" in await one.page.inner_text("li.own")
        await one.shoot("reconnecting")
        async with hub_process(url, unused_tcp_port):
            await asyncio.gather(one.sees("meanwhile 2"), two.sees("meanwhile 1"))
            await asyncio.gather(one.sees("meanwhile 1"), two.sees("meanwhile 2"))
            assert sorted(await one.texts()) == ["before 1", "before 2", "meanwhile 1", "meanwhile 2"]
            assert await one.texts() == await two.texts()


async def test_offline_and_back(everyone: People, database: asyncpg.Connection) -> None:
    """Offline the page says so and keeps what is written; back, nothing is missing and nothing is there twice."""
    tab = await everyone.join()
    await tab.page.context.set_offline(True)
    await tab.state("offline")
    await tab.write("written offline", "gb")
    assert "Waits for the connection" in await tab.page.inner_text("li.own")
    await tab.shoot("offline")
    await database.execute(INSERT, "ada", "meanwhile")
    await tab.page.context.set_offline(False)
    await tab.sees("written offline")
    assert await tab.texts() == ["meanwhile", "written offline"]
    assert await database.fetchval("select count(*) from note") == 2


async def test_unsent_notes_outlive_the_page(everyone: People, database: asyncpg.Connection) -> None:
    """A note that could not be sent is sent, once, by the next page of its topic."""
    tab = await everyone.join()
    await tab.page.context.set_offline(True)
    await tab.write("not yet sent", "gb")
    await tab.page.close(run_before_unload=False)
    await tab.page.context.set_offline(False)
    again = await everyone.tab(tab.page.context)
    await again.sees("not yet sent")
    third = await everyone.tab(tab.page.context)
    await third.sees("not yet sent")
    assert await database.fetchval("select count(*) from note") == 1


async def test_too_long(everyone: People) -> None:
    """Of 141 characters the page says what the server says, sends nothing, and counts characters, not their bytes."""
    tab = await everyone.join()
    await tab.write("😀" * 141, "gb")
    async with aiohttp.ClientSession() as http:
        reply = await http.post(everyone.address + "/notes", json={"username": "gb", "body": "😀" * 141})
        error = await reply.json()
    assert await tab.page.inner_text("#body-problem") == f"{error['message']} {error['hint']}"
    assert await tab.page.inner_text("#body-count") == "−1"
    assert await tab.page.get_attribute("#body", "aria-invalid") == "true"
    await tab.shoot("error")
    await tab.page.press("#body", "Backspace")
    assert await tab.page.inner_text("#body-problem") == ""
    await tab.page.press("#body", "Enter")
    await tab.sees("😀" * 140)
    assert len(await tab.texts()) == 1


async def test_the_struct_makes_the_form(everyone: People, monkeypatch: pytest.MonkeyPatch, start_hub) -> None:
    """Another limit in protocol.py is another limit in the browser, without any other change."""
    genuine = assets._own_files

    def changed(*arguments) -> dict[str, bytes]:
        files = genuine(*arguments)
        before = files[assets.PYTHON]
        files[assets.PYTHON] = before.replace(b"MAX_LENGTH: Final = 140", b"MAX_LENGTH: Final = 7")
        assert files[assets.PYTHON] != before
        return files

    monkeypatch.setattr(assets, "_own_files", changed)
    async with start_hub() as (_, address):
        everyone.address = address
        tab = await everyone.join()
        await tab.write("12345678", "gb")
        assert "at most 7 characters, not 8" in await tab.page.inner_text("#body-problem")
        assert await tab.page.inner_text("#body-count") == "−1"


async def test_refused_by_the_database(everyone: People, database: asyncpg.Connection) -> None:
    """A note that the database refuses stays where it was written, says why, and can be sent again or discarded."""
    await database.execute(
        "create function refuse() returns trigger language plpgsql as $$ begin raise 'not today'; end $$;"
        "create trigger refuse before insert on note for each row execute function refuse()"
    )
    tab = await everyone.join()
    await tab.write("no", "gb")
    await tab.write("yes", "gb")
    await tab.page.locator("li.failed").nth(1).get_by_text("not today").wait_for()
    await tab.shoot("failed")
    await tab.page.locator("li.failed", has=tab.page.get_by_text("no", exact=True)).get_by_text("Discard").click()
    await tab.page.locator("li.failed").nth(1).wait_for(state="detached")
    await database.execute("drop trigger refuse on note")
    await tab.page.get_by_role("button", name="Try again").click()
    await tab.sees("yes")
    assert await tab.texts() == ["yes"]


async def test_markup_is_text(everyone: People, database: asyncpg.Connection) -> None:
    """Tags and entities in notes, names and topics are shown as they were typed; only web addresses become links."""
    tricky = "<script>alert(1)</script> &amp; <img src=x onerror=alert(1)>"
    tab = await everyone.join("/t/%3Cb%3E%22'%3C%2Fscript%3E")
    await tab.page.evaluate("() => { window.alert = () => { throw Error('ran') } }")
    await tab.write(tricky, "<i>x</i>")
    await tab.sees(tricky)
    await tab.write("javascript:alert(1) see (https://example.org/a_(b)?x=<y>&z), https://example.org.")
    links = tab.page.locator("#notes a[href^=http]")
    await links.nth(1).wait_for()
    assert await links.nth(0).get_attribute("href") == "https://example.org/a_(b)?x="
    assert await links.nth(1).get_attribute("href") == "https://example.org"
    assert await links.nth(0).get_attribute("rel") == "noopener noreferrer nofollow"
    assert await tab.page.locator("#notes a:not([href^=http]), #notes img, #notes script, #notes i").count() == 0
    await tab.open("/t/%3Cb%3E%22'%3C%2Fscript%3E")
    await tab.sees(tricky)
    assert await tab.page.inner_text(".who >> nth=0") == "<i>x</i>"


async def test_keyboard_only(everyone: People) -> None:
    """Name, note, a second line and sending need no mouse; the cursor is back in the note."""
    tab = await everyone.join()
    await tab.page.focus("#username")
    await tab.page.keyboard.type("gb")
    await tab.page.keyboard.press("Tab")
    await tab.page.keyboard.type("one")
    await tab.page.keyboard.press("Shift+Enter")
    await tab.page.keyboard.type("two")
    await tab.page.keyboard.press("Enter")
    await tab.sees("one two")
    assert await tab.texts() == ["one\ntwo"]
    await tab.page.keyboard.type("three")
    await tab.page.keyboard.press("Tab")
    await tab.page.keyboard.press("Enter")
    await tab.sees("three")
    await tab.page.keyboard.press("Enter")
    assert "needs at least one" in await tab.page.inner_text("#body-problem")


async def test_drafts_and_names_are_remembered(everyone: People) -> None:
    """A reload loses neither the draft of the topic nor, once it was used, the name."""
    tab = await everyone.join()
    await tab.write("sent", "gb")
    await tab.page.fill("#body", "half a thou")
    other = await everyone.tab(tab.page.context, "/t/other")
    assert await other.page.input_value("#body") == ""
    await tab.open()
    assert await tab.page.input_value("#body") == "half a thou"
    assert await tab.page.input_value("#username") == await other.page.input_value("#username") == "gb"


async def test_written_before_python_is_ready(everyone: People, database: asyncpg.Connection) -> None:
    """A note that is sent while Python still loads is posted by the browser, and is there afterwards."""
    context = await everyone.profile()
    hold = asyncio.Event()

    async def wait(route) -> None:
        await hold.wait()
        await route.continue_()

    await context.route("**/*.wasm", wait)
    tab = await everyone.tab(context, until="#body")
    await tab.page.fill("#username", "gb")
    await tab.page.fill("#body", "early")
    await tab.page.click("#send")
    await tab.sees("early")
    assert await tab.page.inner_text("#status") == "Starting…"
    hold.set()
    await tab.page.wait_for_selector(PYTHON_READY)
    await tab.state("live")
    assert await tab.texts() == ["early"] and await database.fetchval("select count(*) from note") == 1


async def test_the_database_goes_and_comes_back(everyone: People, server: str, url: str) -> None:
    """While the hub has no database the page says so, and goes on as soon as it is back."""
    name = name_of(url)
    async with connected(with_name(server, "postgres")) as other:
        tab = await everyone.join()
        try:
            await other.execute(f"alter database {name} allow_connections false")
            await other.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", name)
            await tab.state("late")
            assert "can’t reach its database" in await tab.page.inner_text("#status")
            await tab.write("meanwhile", "gb")
            await tab.shoot("late")
            await tab.page.set_viewport_size({"width": 320, "height": 600})
            await tab.shoot("late-320")
        finally:
            await other.execute(f"alter database {name} allow_connections true")
        await tab.state("live")
        await tab.sees("meanwhile")
        assert await tab.page.inner_text("#status") == "Live"


async def test_refused_for_good(everyone: People) -> None:
    """A page that the hub refuses says why, and what to do."""
    tab = await everyone.join()
    error = {"type": "error", "code": "x", "message": "This hub is closed for repairs.", "hint": "Come back at noon."}

    async def refuse(socket: WebSocketRoute) -> None:
        socket.send(json.dumps(error))
        await socket.close(code=3501, reason="x")

    await tab.page.route_web_socket("**/ws*", refuse)
    await tab.open(until="body[data-state=refused]")
    said = "The hub has refused this page. This hub is closed for repairs. Come back at noon. Reload it to try again."
    assert await tab.page.inner_text("#status") == said
    await tab.page.set_viewport_size({"width": 320, "height": 600})
    await tab.shoot("refused-320")


async def test_without_the_database(everyone: People, server: str, url: str) -> None:
    """Without the database the page says so in words, as a page."""
    name = name_of(url)
    other = await asyncpg.connect(with_name(server, "postgres"))
    try:
        await other.execute(f"alter database {name} allow_connections false")
        await other.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", name)
        tab = await everyone.join(until="#body", java_script_enabled=False)
        assert "database can't be reached" in await tab.page.inner_text("#problem")
        tab.complaints.clear()  # of the page's own status 503
    finally:
        await other.execute(f"alter database {name} allow_connections true")
        await other.close()
