"""How the page looks and can be used: accessible by axe's rules, on small screens, without Python; with pictures."""

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
import pytest_asyncio

from tests.browser import PYTHON_READY, People, Tab
from tests.programs import ROOT

# The browser and all that a test awaits live on one loop.
pytestmark = pytest.mark.asyncio(loop_scope="session")
AXE = ROOT / ".web/npm/node_modules/axe-core/axe.min.js"
SMALL = {"viewport": {"width": 320, "height": 600}, "has_touch": True, "is_mobile": True}
PHONE = {"viewport": {"width": 390, "height": 780}, "has_touch": True, "is_mobile": True}
WIDE = {"viewport": {"width": 1600, "height": 900}}

TALK = [
    ("Ada", 2900, "Shall we move the release to Thursday? The migration still needs a dry run on the staging copy."),
    ("Grace", 2890, "Thursday is fine. I wrote down what is left: https://example.org/plans/2026?part=2&of=3"),
    ("Grace", 2889, "The index takes four minutes, the rest is quick."),
    ("محمد", 1500, "مرحبا، هل اجتماع الغد في العاشرة؟"),
    ("Ada", 1490, "Yes, at ten."),
    ("Zoë", 90, "🎉 All green: 412 tests, 38 seconds. 👩‍👩‍👧‍👦"),
    ("Zoë", 88, "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft"),
    ("psql", 30, "Hello World!"),
    ("Ada", 5, "Two things before we ship:\n1. the change log\n2. cake"),
    ("Grace", 4, "I'll bring the cake."),
]


@pytest_asyncio.fixture(loop_scope="session")
async def talk(database: asyncpg.Connection) -> None:
    """A conversation over three days."""
    insert = "insert into note (username, body, created_timestamp, updated_timestamp) values ($1, $2, $3, $3)"
    noon = datetime.now(UTC).replace(hour=12, minute=3, second=0, microsecond=0)
    for name, minutes, body in TALK:
        await database.execute(insert, name, body, noon - timedelta(minutes=minutes))


async def blemishes(tab: Tab) -> list[str]:
    """What axe finds that keeps people out."""
    if not AXE.exists():
        pytest.skip("axe-core is not there: make setup")
    await tab.page.evaluate(AXE.read_text())
    found = await tab.page.evaluate("axe.run()")
    return [
        f"{each['id']}: {node['html']}"
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_accessible(everyone: People, talk: None, scheme: str) -> None:
    """axe finds nothing serious, in either colour scheme, with notes, an error, and a note that waits."""
    tab = await everyone.join(color_scheme=scheme, timezone_id="Europe/Berlin")
    await tab.shoot(scheme)
    assert await blemishes(tab) == []
    await tab.page.fill("#body", "x" * 141)
    await tab.page.press("#body", "Enter")
    assert await blemishes(tab) == []
    await tab.page.context.set_offline(True)
    await tab.write("Thanks! See you there.", "gb")
    await tab.page.locator("li.own").wait_for()
    assert await blemishes(tab) == []


async def test_accessible_without_python(everyone: People, talk: None) -> None:
    """The page as the hub sends it has nothing serious either."""
    tab = await everyone.join(until="#body", java_script_enabled=True)
    assert await blemishes(tab) == []


@pytest.mark.parametrize("screen", [SMALL, PHONE, WIDE], ids=["320", "390", "1600"])
async def test_every_width(everyone: People, talk: None, screen: dict) -> None:
    """Nothing sticks out sideways, and the newest note and the form are in view."""
    tab = await everyone.join(**screen, color_scheme="dark" if screen is SMALL else "light")
    await tab.sees("I'll bring the cake.")
    width, height = screen["viewport"].values()
    assert await tab.page.evaluate("document.documentElement.scrollWidth") <= width
    assert await tab.page.evaluate("document.getElementById('log').scrollWidth") <= width
    for element in (tab.note("I'll bring the cake."), tab.page.locator("#send")):
        box = await element.bounding_box()
        assert box and box["y"] >= 0 and box["y"] + box["height"] <= height and box["x"] + box["width"] <= width
    await tab.shoot(f"width-{width}")


async def test_the_past_without_python(everyone: People, database: asyncpg.Connection) -> None:
    """Without JavaScript links lead to older notes and back."""
    many = "insert into note (username, body) select 'ada', 'note ' || i from generate_series(1, 120) i"
    await database.execute(many)
    tab = await everyone.join(until="#body", java_script_enabled=False)
    await tab.page.click("#older")
    await tab.sees("note 70")
    assert len(await tab.texts()) == 50
    await tab.page.click("#older")
    await tab.sees("note 1")
    await tab.shoot("past")
    await tab.page.get_by_role("link", name="Newest notes").click()
    await tab.sees("note 120")


async def test_empty(everyone: People) -> None:
    """An empty topic says so, and what to do."""
    tab = await everyone.join("/t/garden")
    assert await tab.page.get_by_text("No notes yet. Write the first one.").count() == 1
    await tab.shoot("empty")
    await tab.write("First!", "gb")
    await tab.sees("First!")
    assert await tab.page.get_by_text("No notes yet").count() == 0


async def test_topics(everyone: People) -> None:
    """The list of topics has those that were visited and leads to any other, by keyboard too; axe has no objection."""
    tab = await everyone.join("/t/garden")
    await tab.open("/t/%D9%85%D8%B1%D8%AD%D8%A8%D8%A7")
    await tab.page.focus("#topics summary")
    await tab.page.keyboard.press("Enter")
    assert await tab.page.locator("#visited a").all_inner_texts() == ["garden", "lobby"]
    await tab.shoot("topics")
    assert await blemishes(tab) == []
    await tab.page.keyboard.press("Escape")
    await tab.page.locator("#visited").wait_for(state="hidden")
    await tab.page.keyboard.press("Enter")
    await tab.page.fill("#topic", "a/b & c?")
    await tab.page.keyboard.press("Enter")
    await tab.page.wait_for_url("**/t/a%2Fb*")
    assert await tab.page.inner_text("h1") == "a/b & c?"


async def test_local_times_and_days(everyone: People, database: asyncpg.Connection) -> None:
    """Times are the reader's own, and each day begins with its name."""
    insert = "insert into note (username, body, created_timestamp) values ('ada', $1, $2)"
    await database.execute(insert, "summer", datetime(2025, 7, 1, 23, 30, tzinfo=UTC))
    await database.execute(insert, "winter", datetime(2025, 12, 31, 23, 30, tzinfo=UTC))
    await database.execute(insert, "now", datetime.now(UTC))
    tab = await everyone.join(timezone_id="Europe/Berlin")
    times = await tab.page.locator("#notes time").all_inner_texts()
    assert times[:4] == ["Wednesday, 2 July 2025", "01:30", "Thursday, 1 January", "00:30"]
    assert times[4] == "Today"


async def test_nobody_waits_for_pyscript_to_read(everyone: People, talk: None) -> None:
    """The notes are drawn, in the reader's own time, as soon as Python is there, whenever PyScript comes."""
    page = await (await everyone.profile(timezone_id="Asia/Tokyo")).new_page()
    await page.route("**/pyscript-*/*", lambda route: route.abort())
    await page.goto(everyone.address)
    await page.wait_for_selector(PYTHON_READY)
    assert (await page.locator("#notes .note time").all_inner_texts())[-1] == "20:59"


async def test_screen_readers_hear_what_is_new(everyone: People, database: asyncpg.Connection) -> None:
    """A new note of somebody else is read out, what was there before and one's own is not."""
    insert = "insert into note (username, body) values ('ada', $1)"
    await database.execute(insert, "old")
    tab = await everyone.join()
    await tab.write("mine", "gb")
    await tab.sees("mine")
    assert await tab.page.inner_text("#said") == ""
    await database.execute(insert, "new")
    await tab.sees("new")
    assert await tab.page.text_content("#said") == "ada: new"
    assert await tab.page.get_attribute("#log", "role") == "log"


async def test_without_prepared_assets(everyone: People, monkeypatch: pytest.MonkeyPatch, start_hub, talk) -> None:
    """Where the assets were not prepared the page has no scripts, and is read and written all the same."""
    monkeypatch.setattr("hub.page.assets._manifest", lambda folder: None)
    async with start_hub() as (_, address):
        everyone.address = address
        tab = await everyone.join(until="#body")
        assert await tab.page.locator("script[src]").count() == 0
        await tab.page.fill("#username", "gb")
        await tab.page.fill("#body", "posted")
        await tab.page.click("#send")
        await tab.sees("posted")
        await tab.shoot("without-python")
