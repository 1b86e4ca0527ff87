"""What the hub asks of its process: how a run ends, which errors become one line, and what stops it."""

import asyncio
import gc
import json
import os
import resource
import signal
import sys

import pytest
import uvloop

from hub import process
from hub.errors import HubError, SettingsError
from tests.programs import output


async def failing(error: BaseException) -> int | None:
    raise error


async def giving(status: int | None) -> int | None:
    return status


@pytest.mark.parametrize(("given", "status"), [(None, 0), (0, 0), (3, 3)])
def test_status(given: int | None, status: int) -> None:
    """The exit status is what the work returns, and 0 for nothing."""
    assert process.run(giving(given)) == status


def test_status_after_ctrl_c() -> None:
    """After Ctrl-C the exit status is 130."""
    assert process.run(failing(KeyboardInterrupt())) == 130


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (SettingsError("PORT is 'x':\n  a number"), "PORT is 'x': a number"),
        (OSError(98, "in use"), "[Errno 98] in use"),
        (TimeoutError(), "TimeoutError"),
        (ExceptionGroup("parts", [ExceptionGroup("one", [HubError("deep")]), OSError("second")]), "deep"),
    ],
)
def test_known_errors_are_one_line(error: Exception, line: str) -> None:
    """What a person can cause or mend becomes a HubError of one line, out of a group too."""
    with pytest.raises(HubError) as caught:
        process.run(failing(error))
    assert str(caught.value) == line


@pytest.mark.parametrize(
    "error", [ValueError("a bug"), ExceptionGroup("parts", [HubError("known"), ValueError("a bug")])]
)
def test_bugs_come_out_as_they_are(error: Exception) -> None:
    """Any other exception is raised unchanged, also where a known one stands beside it."""
    with pytest.raises(type(error)) as caught:
        process.run(failing(error))
    assert caught.value is error


LIBRARY = """
import logging
from hub.process import set_up_logging
set_up_logging("info")
logging.getLogger("library").info("of no interest")
try:
    raise ValueError("a bug")
except ValueError:
    logging.getLogger("library").exception("%s happened", "something")
"""


async def test_libraries_log_lines_of_json() -> None:
    """What a library logs is one JSON object a line, too, with its traceback in it."""
    (line,) = (await output(sys.executable, "-c", LIBRARY)).splitlines()
    entry = json.loads(line)
    assert (entry["level"], entry["library"], entry["message"]) == ("error", "library", "something happened")
    assert "ValueError: a bug" in entry["exception"]


def test_event_loop() -> None:
    """The work runs on uvloop."""

    async def work() -> int:
        return int(isinstance(asyncio.get_running_loop(), uvloop.Loop))

    assert process.run(work()) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_prepare(number: signal.Signals) -> None:
    """A prepared process may open as many files as the system allows, and a signal sets its event."""

    async def work() -> None:
        stop = process.prepare()
        assert not stop.is_set()
        os.kill(os.getpid(), number)
        await stop.wait()

    before, threshold = resource.getrlimit(resource.RLIMIT_NOFILE), gc.get_threshold()
    try:
        assert process.run(work()) == 0
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
        assert gc.get_threshold() == process.GC_THRESHOLD
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        gc.set_threshold(*threshold)


def test_nohup() -> None:
    """Where SIGHUP is ignored, as by nohup, it stays so."""

    async def work() -> None:
        process.prepare()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN

    files, threshold = resource.getrlimit(resource.RLIMIT_NOFILE), gc.get_threshold()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert process.run(work()) == 0
    finally:
        signal.signal(signal.SIGHUP, before)
        resource.setrlimit(resource.RLIMIT_NOFILE, files)
        gc.set_threshold(*threshold)


async def test_until_the_work_is_done() -> None:
    """What the work raises comes out."""
    with pytest.raises(HubError, match="refused"):
        await process.until(asyncio.Event(), failing(HubError("refused")))


async def test_until_told_to_stop() -> None:
    """Work that is not done when the event is set is cancelled."""
    stop, cancelled = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        stop.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with asyncio.timeout(5):
        await process.until(stop, work())
        await cancelled.wait()
    assert stop.is_set()


def test_serving_needs_unix(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows, where an event loop has no signal handlers, serving is refused in one clear line."""
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(HubError, match="needs Linux or macOS"):
        process.prepare()
