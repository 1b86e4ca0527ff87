"""The form in which a note is written.

Owns the two fields: their counters, what is wrong with them in the hub's own words, the name that is remembered, and
the draft that outlives the page. The struct Publish says what the fields may hold. It never sends a note.
"""

from collections.abc import Callable, MutableMapping
from typing import Any
from urllib.parse import quote

from js import document

from chat.browser import element, on
from hub.page import form

SOON_FULL = 40  # the counter is shown when no more characters than this are left
YEAR = 365 * 24 * 3600  # seconds


class Composer:
    """The form. `send` is called with a name and a text, both valid, and `store` keeps the draft of `topic`."""

    def __init__(self, store: MutableMapping[str, str], topic: str, send: Callable[[str, str], None]) -> None:
        self._store, self._draft, self._send = store, f"draft {topic}", send
        self._form, self._name, self._text = element("form"), element("username"), element("body")
        self._form.noValidate = True
        for field in (self._name, self._text):
            field.removeAttribute("maxlength")  # maxlength counts UTF-16 units; the hub and this form count code points
            on(field, "input", self._typed)
        if not self._text.value:
            self._text.value = store.get(self._draft, "")
        for name in form.FIELDS:
            self._count(name)
        on(self._form, "submit", self._submitted)
        on(self._text, "keydown", self._key)

    def _key(self, event: Any) -> None:
        if event.key == "Enter" and not event.shiftKey and not event.isComposing:
            event.preventDefault()
            self._form.requestSubmit()

    def _typed(self, event: Any = None) -> None:
        for name in form.FIELDS:
            self._count(name)
            field = element(name)
            # A value that is too long is marked at once. Other mistakes are marked only after an attempt to send.
            if field.getAttribute("aria-invalid") or len(field.value) > form.fields()[name].most:
                self._show(name, field.value)
        if self._text.value:
            self._store[self._draft] = self._text.value
        else:
            self._store.pop(self._draft, None)

    def _submitted(self, event: Any) -> None:
        event.preventDefault()
        wrong = [name for name in form.FIELDS if not self._show(name, element(name).value)]
        if wrong:
            element(wrong[0]).focus()
            return
        name, text = self._name.value, self._text.value
        self._text.value = ""
        self._typed()
        document.cookie = f"name={quote(name, safe='')}; path=/; max-age={YEAR}; samesite=lax"
        self._text.focus()
        self._send(name, text)

    def _show(self, name: str, value: str) -> bool:
        """Show what is wrong with a field. Returns whether its value is valid."""
        error = form.problem(name, value)
        element(f"{name}-problem").textContent = form.in_words(error) if error else ""
        if error:
            element(name).setAttribute("aria-invalid", "true")
        else:
            element(name).removeAttribute("aria-invalid")
        return error is None

    def _count(self, name: str) -> None:
        left = form.fields()[name].most - len(element(name).value)
        counter = element(f"{name}-count")
        counter.textContent = str(left).replace("-", "−") if left <= SOON_FULL else ""
        counter.title = f"{left} characters left"
