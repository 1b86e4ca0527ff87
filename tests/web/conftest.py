"""What tests of the page share: one browser for all of them, on one event loop, with clean profiles for each test."""

from collections.abc import AsyncIterator

import asyncpg
import pytest_asyncio

from tests.browser import Chromium, People, chromium, people
from tests.conftest import connected


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Chromium]:
    """The browser of this process."""
    async with chromium() as found:
        yield found


@pytest_asyncio.fixture(loop_scope="session")
async def database(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the test's database, on the browser's loop."""
    async with connected(url) as connection:
        yield connection


@pytest_asyncio.fixture(loop_scope="session")
async def everyone(browser: Chromium, start_hub) -> AsyncIterator[People]:
    """People with browsers on a hub of the test's database."""
    async with start_hub() as (_, address), people(browser, address) as found:
        yield found
