"""A real Chromium for the tests of the page, and what a person does in it.

Owns where the browser comes from, how it is started, which profiles it keeps for the next test, and what no page
may do: complain on the console, break its content security policy, or ask another host for anything.
"""

import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Locator, Page, Playwright, async_playwright

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
    # Without its optimising compiler WebAssembly starts in three quarters of the time; a test is short.
    "--js-flags=--liftoff-only",
    # The pages of a profile share a process, and so what it has compiled of Pyodide.
    "--process-per-site",
]
SITE = "http://127.0.0.1:1/"  # a page of the same site as every hub of the tests
PYTHON_READY = "html[data-drawn]"
LIVE = "body[data-state=live]"
SCREENSHOTS = ROOT / ".screenshots"
PATIENCE = 15_000  # ms


def executable(own: str) -> str | None:
    """Where a browser is: on the PATH, or else playwright's own."""
    return next((found for name in NAMES if (found := shutil.which(name))), own if Path(own).exists() else None)


class Profile:
    """A browser profile without options, which the next test gets as if it were new."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.crashed = False
        self._visited: set[str] = set()
        context.on("page", self._watch)

    def _watch(self, page: Page) -> None:
        page.on("framenavigated", lambda frame: self._visited.add("/".join(frame.url.split("/")[:3])))
        page.on("crash", lambda _: setattr(self, "crashed", True))

    async def prepare(self) -> None:
        """Keep an empty page of the hubs' site open: its process, with all that is compiled, outlives each test."""
        page = await self.context.new_page()
        await page.route(SITE, lambda route: route.fulfill(body="<!doctype html>", content_type="text/html"))
        await page.goto(SITE)

    async def forget(self) -> None:
        """Close the pages of a test, and remove whatever they have left behind."""
        keeper, *pages = self.context.pages
        await self.context.unroute_all(behavior="ignoreErrors")
        for page in pages:
            await page.close()
        await self.context.set_offline(False)
        await self.context.clear_cookies()
        session = await self.context.new_cdp_session(keeper)
        for origin in self._visited:
            await session.send("Storage.clearDataForOrigin", {"origin": origin, "storageTypes": "all"})
        await session.detach()
        self._visited.clear()


class Chromium:
    """A browser for all the tests of a process. It is started when it is first asked for, and again if it is gone."""

    def __init__(self, playwright: Playwright) -> None:
        self._playwright = playwright
        self._browser: Browser | None = None
        self._profiles: list[Profile] = []

    async def browser(self) -> Browser:
        """The browser; without one on this machine the test is skipped, and fails under CI=true."""
        if self._browser is None or not self._browser.is_connected():
            path = executable(self._playwright.chromium.executable_path)
            missing = "no Chromium on this machine: install chromium, or run `playwright install chromium`"
            if not (ROOT / "web/dist/manifest.json").exists():
                path, missing = None, "the page's assets are not prepared: make setup"
            if path is None:
                (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(missing)
            self._profiles.clear()
            self._browser = await self._playwright.chromium.launch(executable_path=path, args=FLAGS)
        return self._browser

    async def lend(self) -> Profile:
        """A profile in which nothing was done yet."""
        browser = await self.browser()
        if self._profiles:
            return self._profiles.pop()
        profile = Profile(await browser.new_context())
        profile.context.set_default_timeout(PATIENCE)
        await profile.prepare()
        return profile

    async def take_back(self, profile: Profile) -> None:
        """Clean a profile for the next test, or drop it where a page of it has crashed."""
        if profile.crashed:
            await profile.context.close()
        else:
            await profile.forget()
            self._profiles.append(profile)

    async def close(self) -> None:
        """End it."""
        if self._browser:
            await self._browser.close()


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Chromium]:
    """A browser that is ended with the block."""
    async with async_playwright() as playwright:
        made = Chromium(playwright)
        try:
            yield made
        finally:
            await made.close()


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

    def __init__(self, browser: Chromium, address: str) -> None:
        self._browser, self.address = browser, address
        self.tabs: list[Tab] = []
        self._lent: list[Profile] = []
        self._own: list[BrowserContext] = []

    async def join(self, path: str = "/", until: str = LIVE, **profile: Any) -> Tab:
        """Somebody opens the page."""
        return await self.tab(await self.profile(**profile), path, until)

    async def profile(self, **options: Any) -> BrowserContext:
        """A browser profile in which nothing was done yet."""
        if not options:
            self._lent.append(await self._browser.lend())
            return self._lent[-1].context
        context = await (await self._browser.browser()).new_context(**options)
        context.set_default_timeout(PATIENCE)
        self._own.append(context)
        return context

    async def tab(self, profile: BrowserContext, path: str = "/", until: str = LIVE) -> Tab:
        """A new tab in a profile."""
        tab = Tab(await profile.new_page(), self.address)
        self.tabs.append(tab)
        await tab.open(path, until)
        return tab

    async def leave(self) -> None:
        """Close everything that they have opened."""
        for context in self._own:
            await context.close()
        for profile in self._lent:
            await self._browser.take_back(profile)


@contextlib.asynccontextmanager
async def people(browser: Chromium, address: str) -> AsyncIterator[People]:
    """People on a hub."""
    everyone = People(browser, address)
    try:
        yield everyone
        for tab in everyone.tabs:
            tab.check()
    finally:
        await everyone.leave()
