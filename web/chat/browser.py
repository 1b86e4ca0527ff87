"""What the other modules need of the browser: events, frames, storage.

Owns the calls that are awkward from Python, and the proxies that keep Python's functions alive for
as long as the page is there. Knows nothing of notes.
"""

from collections.abc import Callable, Iterator, MutableMapping
from contextlib import suppress
from typing import Any

from js import document, requestAnimationFrame, setTimeout, window
from pyodide.ffi import JsException, create_proxy

HIDDEN_DELAY = 250  # ms between turns while nobody sees the page; it has no frames then


def element(id: str) -> Any:
    """The element with an id, which is there."""
    return document.getElementById(id)


def on(target: Any, event: str, function: Callable[[Any], object], **options: bool) -> None:
    """Call a function at each event."""
    target.addEventListener(event, create_proxy(function), **options)


class Turn:
    """Runs a function once in the next frame, however often it is asked to."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function
        self._asked = False
        self._proxy = create_proxy(self._run)
        on(document, "visibilitychange", self._moved)

    def ask(self) -> None:
        """Run soon."""
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


class Storage(MutableMapping[str, str]):
    """What this browser remembers, under names that begin alike; nothing where that is forbidden."""

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
