"""A real Chromium for the tests of the page, and what a person does in it.

Owns where the browser comes from, how it is started, and what no page may do: complain on the
console, break its content security policy, or ask another host for anything.
"""

import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Locator, Page, async_playwright

from tests.programs import ROOT

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PYTHON_READY = "html[data-drawn]"
LIVE = "body[data-state=live]"
SCREENSHOTS = ROOT / ".screenshots"
PATIENCE = 15_000  # ms


def executable(own: str) -> str | None:
    """Where a browser is: on the PATH, or else playwright's own."""
    return next((found for name in NAMES if (found := shutil.which(name))), own if Path(own).exists() else None)


@contextlib.asynccontextmanager
async def chromium(**options: Any) -> AsyncIterator[Browser]:
    """A browser; without one on this machine the test is skipped, and fails under CI=true."""
    async with async_playwright() as playwright:
        path = executable(playwright.chromium.executable_path)
        missing = "no Chromium on this machine: install chromium, or run `playwright install chromium`"
        if not (ROOT / "web/dist/manifest.json").exists():
            path, missing = None, "the page's assets are not prepared: make setup"
        if path is None:
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(missing)
        # Without its optimising compiler WebAssembly starts in three quarters of the time; a test is short.
        flags = [*FLAGS, "--js-flags=--liftoff-only"]
        browser = await playwright.chromium.launch(executable_path=path, args=flags, **options)
        try:
            yield browser
        finally:
            await browser.close()


class Tab:
    """A tab on the page of a topic."""

    def __init__(self, page: Page, address: str) -> None:
        self.page, self.address = page, address
        self.complaints: list[str] = []  # of the console, apart from what a lost connection causes
        self.asked: list[str] = []
        page.on("console", lambda message: self._heard(message.type, message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("websocket", lambda socket: self.asked.append(socket.url))

    def _heard(self, kind: str, text: str) -> None:
        # On a slow machine what was preloaded is used some seconds later, of which Chromium warns.
        expected = "WebSocket connection to" in text or "was preloaded using link preload but not used" in text
        if kind in ("error", "warning") and not expected:
            self.complaints.append(text)

    async def open(self, path: str = "/", until: str = LIVE) -> None:
        """Go to a topic's page and wait for a state of it."""
        await self.page.goto(self.address + path, wait_until="commit")
        await self.page.wait_for_selector(until)

    async def write(self, text: str, name: str | None = None) -> None:
        """Write a note, as a person does."""
        if name is not None:
            await self.page.fill("#username", name)
        await self.page.fill("#body", text)
        await self.page.press("#body", "Enter")

    def note(self, text: str) -> Locator:
        """A note that the hub has sent, by its whole text."""
        return self.page.locator("#notes > li.note:not(.own) > p").get_by_text(text, exact=True)

    async def sees(self, text: str) -> None:
        """Wait until there is exactly one such note."""
        await self.note(text).wait_for()

    async def texts(self) -> list[str]:
        """The notes on the page, ours that are on their way too."""
        return await self.page.locator("#notes > li.note > p").all_inner_texts()

    async def state(self, name: str) -> None:
        """Wait for a state of the connection."""
        await self.page.wait_for_selector(f"body[data-state={name}]")

    async def shoot(self, name: str) -> None:
        """Keep a picture for people to look at."""
        SCREENSHOTS.mkdir(exist_ok=True)
        await self.page.screenshot(path=SCREENSHOTS / f"{name}.png")

    async def top(self) -> None:
        """Scroll up to the oldest row on the page."""
        await self.page.evaluate("(log => { log.scrollTop = -log.scrollHeight })(document.getElementById('log'))")

    def check(self) -> None:
        """Fail if the page has done what no page may do."""
        assert not self.complaints, self.complaints
        host = self.address.partition("//")[2]
        elsewhere = [url for url in self.asked if url.split(":")[0] != "data" and url.split("/")[2] != host]
        assert not elsewhere, elsewhere


class People:
    """Tabs on one hub, each in a browser profile of its own; `check` is run on all at the end."""

    def __init__(self, browser: Browser, address: str) -> None:
        self._browser, self.address = browser, address
        self.tabs: list[Tab] = []

    async def join(self, path: str = "/", until: str = LIVE, **profile: Any) -> Tab:
        """Somebody opens the page."""
        return await self.tab(await self.profile(**profile), path, until)

    async def profile(self, **options: Any) -> BrowserContext:
        """A new browser profile."""
        context = await self._browser.new_context(**options)
        context.set_default_timeout(PATIENCE)
        return context

    async def tab(self, profile: BrowserContext, path: str = "/", until: str = LIVE) -> Tab:
        """A new tab in a profile."""
        tab = Tab(await profile.new_page(), self.address)
        self.tabs.append(tab)
        await tab.open(path, until)
        return tab


@contextlib.asynccontextmanager
async def people(address: str, **options: Any) -> AsyncIterator[People]:
    """A browser with people on a hub."""
    async with chromium(**options) as browser:
        everyone = People(browser, address)
        yield everyone
        for tab in everyone.tabs:
            tab.check()
