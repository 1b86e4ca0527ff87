"""A browser without a browser: as much of one as the page's Python needs to run here.

Owns timers that run when a test says so, sockets that a test opens and feeds, and elements that hold what is put into
them. Nothing is drawn and nothing has a size.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any


class Element(SimpleNamespace):
    """An element: any property may be set, and any method called."""

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments, **options: None


class Socket:
    """A WebSocket of the page. The page sets `onmessage` and `onclose`."""

    OPEN = 1

    def __init__(self) -> None:
        self.readyState = self.OPEN
        self.sent: list[str] = []
        self.onmessage: Callable[[Any], None] | None = None
        self.onclose: Callable[[Any], None] | None = None

    def send(self, text: str) -> None:
        self.sent.append(text)

    def close(self) -> None:
        self.readyState = 3


class FakeBrowser:
    """The names that the page imports from `js` and from `pyodide.ffi`. A frame, too, is a timer."""

    def __init__(self) -> None:
        self.timers: dict[int, tuple[float, Callable[[], None]]] = {}  # id → milliseconds and function
        self.sockets: list[Socket] = []
        self.elements: dict[str, Element] = {}
        self._numbers = iter(range(1, 10**6))

    def modules(self) -> dict[str, ModuleType]:
        """The modules to import in its place."""
        js, ffi = ModuleType("js"), ModuleType("pyodide.ffi")
        document = Element(hidden=False, title="", body=Element(dataset=SimpleNamespace(state="", topic="lobby")))
        document.getElementById = self.element
        names = {
            "clearTimeout": lambda id: self.timers.pop(id, None),
            "document": document,
            "location": SimpleNamespace(origin="http://hub"),
            "navigator": SimpleNamespace(onLine=True),
            "requestAnimationFrame": lambda function: self._wait(function, 0),
            "setInterval": lambda function, after: None,
            "setTimeout": self._wait,
            "window": Element(localStorage=SimpleNamespace(length=0, getItem=lambda name: None)),
            "WebSocket": SimpleNamespace(new=self._connect, OPEN=Socket.OPEN),
        }
        for name, found in names.items():
            setattr(js, name, found)
        ffi.create_proxy, ffi.JsException = (lambda function: function), AttributeError
        return {"js": js, "pyodide": ModuleType("pyodide"), "pyodide.ffi": ffi}

    def element(self, id: str) -> Element:
        """The element with this id."""
        return self.elements.setdefault(id, Element(value="", scrollTop=0, scrollHeight=0, clientHeight=0))

    def waiting(self, seconds: float) -> int:
        """How many timers of this length wait."""
        return sum(after == seconds * 1000 for after, _ in self.timers.values())

    def run(self, seconds: float = 0) -> None:
        """Run the timers of this length that wait now; without a length, the frames."""
        for id, (after, function) in list(self.timers.items()):
            if after == seconds * 1000 and self.timers.pop(id, None):
                function()

    def receive(self, *messages: str) -> None:
        """Let the newest socket receive messages, and the page handle them."""
        for text in messages:
            assert self.sockets[-1].onmessage
            self.sockets[-1].onmessage(SimpleNamespace(data=text))
        self.run()

    def close(self, code: int = 1006) -> None:
        """Close the newest socket."""
        assert self.sockets[-1].onclose
        self.sockets[-1].readyState = 3
        self.sockets[-1].onclose(SimpleNamespace(code=code, reason=""))

    def _wait(self, function: Callable[[], None], after: float) -> int:
        id = next(self._numbers)
        self.timers[id] = after, function
        return id

    def _connect(self, url: str) -> Socket:
        self.sockets.append(Socket())
        return self.sockets[-1]


@contextmanager
def fake_browser() -> Iterator[FakeBrowser]:
    """A fake browser for the modules of the page that are imported in the block."""
    browser = FakeBrowser()
    modules = browser.modules()
    before = set(sys.modules)
    sys.modules.update(modules)
    try:
        yield browser
    finally:
        for name in {name for name in sys.modules if name.startswith("chat")} - before | modules.keys():
            del sys.modules[name]
