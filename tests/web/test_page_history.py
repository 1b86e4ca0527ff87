"""Long lists on the page: scrolling back, bursts, and the line that one reads."""

import asyncpg
import pytest

from tests.browser import People

# The browser and all that a test awaits live on one loop.
pytestmark = pytest.mark.asyncio(loop_scope="session")
INSERT = "insert into note (username, body) values ($1, $2)"
MANY = "insert into note (username, body) select 'crowd', 'note ' || i from generate_series($1::int, $2::int) i"


async def test_scrolling_back(everyone: People, database: asyncpg.Connection) -> None:
    """Older notes come as one scrolls, the line one reads stays in its place, and the page holds a window of rows."""
    await database.execute(MANY, 1, 700)
    tab = await everyone.join()
    seen = set()
    for _ in range(200):
        await tab.top()
        seen |= set(await tab.texts())
        if await tab.page.get_by_text("This is where it begins.").count():
            break
    assert seen == {f"note {number}" for number in range(1, 701)}
    assert await tab.page.locator("#notes > li").count() < 230
    await tab.page.locator("#notes > li", has_text="note 30").first.scroll_into_view_if_needed()
    line = tab.page.locator("#notes > li", has_text="note 30").first
    before = await line.bounding_box()
    await database.execute(MANY, 701, 703)
    await tab.page.get_by_text("3 new notes").first.wait_for()
    after = await line.bounding_box()
    assert before and after and abs(before["y"] - after["y"]) < 2
    assert await tab.page.title() == "(3) #lobby · Notes"
    await tab.shoot("new-notes")
    await tab.page.click("#newest")
    await tab.sees("note 703")
    await tab.page.locator("#newest").wait_for(state="hidden")
    assert await tab.page.title() == "#lobby · Notes"


async def test_the_line_one_reads_stays(everyone: People, database: asyncpg.Connection) -> None:
    """New notes below, a deletion above and an edit leave the line that is read where it is on the screen."""
    await database.execute(MANY, 1, 90)
    tab = await everyone.join()
    line = tab.page.locator("#notes > li > p").get_by_text("note 60", exact=True)
    await line.scroll_into_view_if_needed()
    before = await line.bounding_box()
    await database.execute(MANY, 91, 95)
    await tab.page.get_by_text("5 new notes").first.wait_for()
    await database.execute("delete from note where rowid = 43")
    await database.execute("update note set body = E'two\\nlines' where rowid = 44")
    await tab.page.get_by_text("edited").wait_for()
    after = await line.bounding_box()
    assert before and after and abs(before["y"] - after["y"]) < 2


async def test_ten_thousand_notes(everyone: People, database: asyncpg.Connection) -> None:
    """However many arrive at once, the page keeps a window of them and stays usable."""
    tab = await everyone.join()
    await database.execute(MANY, 1, 10_000)
    await tab.sees("note 10000")
    assert await tab.page.locator("#notes > li").count() < 230
    await tab.write("still here", "gb")
    await tab.sees("still here")


async def test_truncated(everyone: People, database: asyncpg.Connection) -> None:
    """When all notes are removed the page is empty, and goes on from there."""
    await database.execute(INSERT, "ada", "old")
    tab = await everyone.join()
    await tab.sees("old")
    await database.execute("truncate note")
    await tab.note("old").wait_for(state="detached")
    await database.execute(INSERT, "ada", "new")
    await tab.sees("new")
    assert await tab.texts() == ["new"]
