"""What the other modules need of the browser: events, frames, timers, storage.

Owns the calls that are awkward from Python, and the proxies that keep Python functions alive for as long as the page is
open. It never knows about notes.
"""

from collections.abc import Callable, Iterator, MutableMapping
from contextlib import suppress
from typing import Any

from js import clearTimeout, document, requestAnimationFrame, setTimeout, window
from pyodide.ffi import JsException, create_proxy

HIDDEN_DELAY = 250  # milliseconds until a turn while the page is hidden; browsers draw no frames then


def element(id: str) -> Any:
    """The element with this id, which must exist."""
    return document.getElementById(id)


def on(target: Any, event: str, function: Callable[[Any], object], **options: bool) -> None:
    """Call `function` at each DOM event of this name. The options are those of addEventListener."""
    target.addEventListener(event, create_proxy(function), **options)


class Turn:
    """Runs a function once in the next animation frame, however often it was asked to."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function
        self._asked = False
        self._proxy = create_proxy(self._run)
        on(document, "visibilitychange", self._moved)

    def ask(self) -> None:
        """Run the function in the next frame."""
        if not self._asked:
            self._asked = True
            self._schedule()

    def _schedule(self) -> None:
        if document.hidden:
            setTimeout(self._proxy, HIDDEN_DELAY)
        else:
            requestAnimationFrame(self._proxy)

    def _moved(self, _event: Any) -> None:
        if self._asked:
            self._schedule()

    def _run(self, *_: Any) -> None:
        if self._asked:
            self._asked = False
            self._function()


class Timer:
    """Runs a function once, after a while. At most one run waits at any time."""

    def __init__(self, function: Callable[[], object]) -> None:
        self._function = function
        self._id: int | None = None
        self._proxy = create_proxy(self._run)

    @property
    def waiting(self) -> bool:
        """Whether a run waits."""
        return self._id is not None

    def start(self, seconds: float) -> None:
        """Run the function after so many seconds, and not when it was to run before."""
        self.stop()
        self._id = setTimeout(self._proxy, seconds * 1000)

    def stop(self) -> None:
        """Do not run the function."""
        if self._id is not None:
            clearTimeout(self._id)
            self._id = None

    def _run(self, *_: Any) -> None:
        self._id = None
        self._function()


class Storage(MutableMapping[str, str]):
    """The part of localStorage whose names begin with `prefix`. If storage is forbidden, it stays empty."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def __getitem__(self, name: str) -> str:
        with suppress(JsException):
            if isinstance(text := window.localStorage.getItem(self._prefix + name), str):
                return text
        raise KeyError(name)

    def __setitem__(self, name: str, text: str) -> None:
        with suppress(JsException):
            window.localStorage.setItem(self._prefix + name, text)

    def __delitem__(self, name: str) -> None:
        with suppress(JsException):
            window.localStorage.removeItem(self._prefix + name)

    def __iter__(self) -> Iterator[str]:
        found: list[str] = []
        with suppress(JsException):
            found = [window.localStorage.key(number) for number in range(window.localStorage.length)]
        return (name.removeprefix(self._prefix) for name in found if name.startswith(self._prefix))

    def __len__(self) -> int:
        return sum(1 for _ in self)
