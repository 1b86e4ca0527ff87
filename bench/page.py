"""How quickly the page is there, beside the same page by the plain PyScript recipe: ``python -m bench.page``.

Owns the plain recipe (micropip, npm's files as they are, no preloads), the visits with fresh browser
profiles, and the burst of notes. Both pages run the very same Python; only how it gets there differs.
"""

import argparse
import asyncio
import contextlib
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import asyncpg
from aiohttp import web
from playwright.async_api import Page, async_playwright

from bench import parts
from hub.page.assets import MAIN, PYTHON, Assets
from hub.settings import PACKAGE, WEB_DIR
from tests.browser import FLAGS, LIVE, PYTHON_READY, executable

ROOT = PACKAGE.parent
NOTES = 50
MANY = "insert into note (username, body) select 'crowd', 'note ' || i from generate_series(1, $1::int) i"
BURST = 10_000
SETTLED = 1.5  # seconds in which a browser that was just started still makes its own windows
SLOW = {"offline": False, "latency": 40, "downloadThroughput": 10e6 / 8, "uploadThroughput": 10e6 / 8}
PAINT = "performance.getEntriesByName('first-contentful-paint').map(each => each.startTime)[0] ?? 0"
COUNT_FRAMES = """() => {
    window.frames_ = []; let last = performance.now();
    const next = () => {
        const now = performance.now(); frames_.push(now - last); last = now; requestAnimationFrame(next)
    };
    requestAnimationFrame(next)
}"""


class Visit(NamedTuple):
    """Milliseconds from the start of the navigation to the first paint and to Python's first drawing; bytes."""

    painted: float
    drawn: float
    bytes: int


def plain_recipe(folder: Path) -> str:
    """Put npm's files, untouched, and PyPI's wheels into a folder; the name of msgspec's wheel."""
    sys.path.insert(0, str(WEB_DIR))
    from make import fetch  # the build's own, which checks every hash

    packages = fetch.fetch_packages(fetch.find_node(folder / "work"), folder / "work/npm")
    (wheel,) = fetch.fetch_wheels(fetch.pyodide_info(packages), folder / "work/wheels")
    pyodide = shutil.copytree(packages / "pyodide", folder / "pyodide")
    shutil.copytree(packages / "@pyscript/core/dist", folder / "pyscript")
    shutil.copy(wheel, folder)
    add_micropip(pyodide)
    return wheel.name


def add_micropip(pyodide: Path) -> None:
    """npm's package has not micropip, which Pyodide would fetch from another host: PyPI has it."""
    lock = json.loads((pyodide / "pyodide-lock.json").read_bytes())
    entry = lock["packages"]["micropip"]
    command = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps"]
    command += ["--python-version", "3.14", "--only-binary=:all:", "--dest"]
    subprocess.run([*command, str(pyodide), f"micropip=={entry['version']}"], check=True)
    (found,) = pyodide.glob("micropip-*.whl")
    hashed = subprocess.run([sys.executable, "-m", "pip", "hash", str(found)], check=True, capture_output=True)
    entry |= {"file_name": found.name, "sha256": hashed.stdout.decode().rpartition(":")[2].strip(), "depends": []}
    (pyodide / "pyodide-lock.json").write_text(json.dumps(lock))


def plain_page(html: str, wheel: str, sources: Iterable[str]) -> str:
    """The hub's page with the plain recipe's tags in place of the hub's."""
    files = {f"/own/{path}": f"./{path}" for path in sources}
    config = {"interpreter": "/plain/pyodide/pyodide.mjs", "packages": [f"/plain/{wheel}"], "files": files}
    html = re.sub(r'<link rel="(modulepreload|preload)".*?>\n|<script type="module".*?</script>\n?', "", html)
    html = re.sub(r"<mpy-config.*?</mpy-config>\n", "", html)
    script = f'<script type="py" src="/own/{MAIN}" config="{escape(json.dumps(config))}"></script>'
    html = re.sub(r'<script type="py".*?</script>', script, html)
    tags = '<link rel="stylesheet" href="/plain/pyscript/core.css"><script type="module" src="/plain/pyscript/core.js">'
    return html.replace("</head>", tags + "</script></head>")


@contextlib.asynccontextmanager
async def plain_server(folder: Path, wheel: str, hub: str) -> AsyncIterator[str]:
    """A server of the plain page: its address. The page's own Python comes from the hub's package, as it is."""

    async with aiohttp.ClientSession(hub) as http, http.get(Assets().own(PYTHON)) as reply:
        sources = await reply.json()

    async def index(_: web.Request) -> web.Response:
        async with aiohttp.ClientSession(hub) as http, http.get("/") as reply:
            return web.Response(text=plain_page(await reply.text(), wheel, sources), content_type="text/html")

    async def style(request: web.Request) -> web.Response:
        async with aiohttp.ClientSession(hub) as http, http.get(request.path) as reply:
            return web.Response(body=await reply.read(), headers={"Content-Type": reply.headers["Content-Type"]})

    async def own(request: web.Request) -> web.Response:
        return web.Response(text=sources[request.match_info["path"]], content_type="text/x-python")

    async def kept(_: web.Request, response: web.StreamResponse) -> None:
        response.headers.setdefault("Cache-Control", "max-age=31536000")

    app = web.Application()
    app.add_routes([web.get("/", index), web.get("/page/{path:.+}", style), web.get("/own/{path:.+}", own)])
    app.router.add_static("/plain", folder)
    app.on_response_prepare.append(kept)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def tab(throttle: Mapping[str, Any] | None = None) -> AsyncIterator[tuple[Page, list[int]]]:
    """A tab in a browser that was never used and has finished its own start, and the bytes of what it receives."""
    async with async_playwright() as playwright:
        path = executable(playwright.chromium.executable_path)
        browser = await playwright.chromium.launch(executable_path=path, args=FLAGS)
        page = await browser.new_page()
        await asyncio.sleep(SETTLED)
        received: list[int] = []
        session = await page.context.new_cdp_session(page)
        session.on("Network.loadingFinished", lambda event: received.append(int(event["encodedDataLength"])))
        await session.send("Network.enable")
        if throttle:
            await session.send("Network.emulateNetworkConditions", dict(throttle))
        try:
            yield page, received
        finally:
            await browser.close()


async def visit(page: Page, received: list[int], address: str) -> Visit:
    """Open the page and wait for Python's first drawing."""
    received.clear()
    await page.goto(address, wait_until="commit", timeout=120_000)
    await page.wait_for_selector(PYTHON_READY, timeout=120_000)
    drawn = float(await page.get_attribute("html", "data-drawn") or "nan")
    painted = float(await page.evaluate(PAINT))
    await asyncio.sleep(0.2)  # what is counted comes a little later
    return Visit(painted, drawn, sum(received))


async def visits(address: str, throttle: Mapping[str, Any] | None) -> tuple[Visit, Visit]:
    """A first and a second visit."""
    async with tab(throttle) as (page, received):
        return await visit(page, received, address), await visit(page, received, address)


async def burst(address: str, database: asyncpg.Connection) -> tuple[list[float], int, float]:
    """Frames in ms while many notes arrive, the rows that are on the page then, and the seconds that it took."""
    async with tab() as (page, _):
        await page.goto(address, wait_until="commit")
        await page.wait_for_selector(LIVE)
        await page.evaluate(COUNT_FRAMES)
        started = asyncio.get_running_loop().time()
        await database.execute("truncate note")
        await database.execute(MANY, BURST)
        await page.get_by_text(f"note {BURST}", exact=True).wait_for(timeout=60_000)
        seconds = asyncio.get_running_loop().time() - started
        return await page.evaluate("frames_"), await page.locator("#notes > li").count(), seconds


NETWORKS = {"localhost": None, "10 Mbps, 40 ms": SLOW}


async def run(rounds: int) -> None:
    """Measure, and print the table."""
    print("The page: medians of", rounds, "fresh browser profiles each (range)")
    with tempfile.TemporaryDirectory() as name:
        wheel = await asyncio.to_thread(plain_recipe, Path(name))
        async with parts.hub() as (hub, url, _), plain_server(Path(name), wheel, hub) as plain:
            database = await asyncpg.connect(url)
            await database.execute(MANY, NOTES)
            for network, throttle in NETWORKS.items():
                results: dict[str, list[tuple[Visit, Visit]]] = {"plain recipe": [], "this page": []}
                for _ in range(rounds):
                    results["plain recipe"].append(await visits(plain, throttle))
                    results["this page"].append(await visits(hub, throttle))
                show(network, results)
            frames = [await burst(hub, database) for _ in range(rounds)]
            await database.close()
    print(f"\n{BURST:,} notes at once")
    print(parts.row("frame, mean", [statistics.mean(each) for each, _, _ in frames], "ms"))
    print(parts.row("frame, worst", [max(each) for each, _, _ in frames], "ms"))
    print(parts.row("rows on the page", [rows for _, rows, _ in frames], "rows"))
    print(parts.row("until the last is shown", [seconds for *_, seconds in frames], "s"))


def show(network: str, results: Mapping[str, list[tuple[Visit, Visit]]]) -> None:
    """One network's part of the table."""
    print(f"\n{network}")
    for name, pairs in results.items():
        first, second = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        print(parts.row(f"{name}: first paint, with the notes", [each.painted for each in first], "ms"))
        print(parts.row(f"{name}: drawn by Python", [each.drawn for each in first], "ms"))
        print(parts.row(f"{name}: drawn by Python, second visit", [each.drawn for each in second], "ms"))
        print(parts.row(f"{name}: received", [each.bytes / 1e6 for each in first], "MB"))
        print(parts.row(f"{name}: received, second visit", [each.bytes / 1e6 for each in second], "MB"))
    medians = [statistics.median(pair[0].drawn for pair in pairs) for pairs in results.values()]
    print(f"  {'ratio, drawn by Python':<58} {medians[1] / medians[0]:>10.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measures how quickly the page is there.")
    parser.add_argument("--rounds", type=int, default=5, help="fresh browser profiles for each number")
    asyncio.run(run(parser.parse_args().rounds))
