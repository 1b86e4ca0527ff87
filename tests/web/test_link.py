"""The page's connection, without a browser: what it passes over, and what it tries again and when."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from hub.client.state import RETRY
from tests.web.fake_browser import FakeBrowser, fake_browser

WELCOME = json.dumps(
    {
        "type": "welcome",
        "protocol": "notes.v1",
        "hub": "0",
        "seq": 1,
        "topics": ["lobby"],
        "limits": {"frame": 1, "text": 140, "topics": 1, "page": 9, "ping_interval": 25.0},
    }
)
CAUGHT_UP = '{"type":"caught_up","seq":1}'


def note(rowid: int, **more: Any) -> str:
    """A note as the hub sends it; its seq is its rowid."""
    when = "2026-05-04T12:00:00Z"
    fields = {"type": "note", "seq": rowid, "rowid": rowid, "topic": "lobby", "username": "ada", "body": "x"}
    return json.dumps({**fields, "created_timestamp": when, "updated_timestamp": when, **more})


def error(id: str | None, temporary: bool = True) -> str:
    return json.dumps(
        {"type": "error", "code": "unavailable", "message": "Not now.", "hint": "", "temporary": temporary, "id": id}
    )


@pytest.fixture
def browser() -> Iterator[FakeBrowser]:
    with fake_browser() as browser:
        yield browser


@pytest.fixture
def chat(browser: FakeBrowser) -> Any:
    """The chat of the lobby, connected and caught up, with note 1."""
    from chat.chat import Chat

    chat = Chat("lobby", None)
    chat.start()
    browser.receive(WELCOME, note(1), CAUGHT_UP)
    return chat


def held(chat: Any) -> list[int]:
    return [each.rowid for each in chat.notes.held]


def status(browser: FakeBrowser) -> str:
    return str(browser.element("status").textContent)


def test_what_a_newer_hub_sends(browser: FakeBrowser, chat: Any) -> None:
    """Messages of unknown types are passed over, and so are unknown fields; the notes around them arrive."""
    unknown = '{"type":"row","seq":2,"table":"public.orders","row":{"id":1}}'
    browser.receive(note(2), unknown, note(3, mood="good"), "no JSON", '"\udc00"', '{"type":"presence"}', note(4))
    assert held(chat) == [1, 2, 3, 4] and chat.client.cursor == 4


def test_one_message_that_cannot_be_handled(browser: FakeBrowser, chat: Any, capsys: pytest.CaptureFixture) -> None:
    """A failure while a message is handled is written to the console; the messages after it are handled."""
    genuine = chat.notes.put

    def put(note: Any) -> bool:
        if note.rowid == 2:
            raise ValueError("broken")
        return bool(genuine(note))

    chat.notes.put = put
    browser.receive(note(2), note(3))
    assert held(chat) == [1, 3] and "ValueError: broken" in capsys.readouterr().err


def test_a_failure_at_the_end_of_a_connection(browser: FakeBrowser, chat: Any, capsys: pytest.CaptureFixture) -> None:
    """A page whose last message cannot be handled connects again all the same."""
    chat.notes.put = chat.log.changed = None  # neither can be called
    for text in (note(2), note(3)):
        browser.sockets[-1].onmessage(type("Event", (), {"data": text}))
    browser.close()
    (delay,) = {after for after, _ in browser.timers.values()} - {0}
    browser.run(delay / 1000)
    assert len(browser.sockets) == 2
    capsys.readouterr()


def test_refused_notes_are_tried_again_by_one_timer(browser: FakeBrowser, chat: Any) -> None:
    """However many messages come meanwhile, one timer waits, and it ends with the connection."""
    chat.write("gb", "later")
    key = next(iter(chat.client.outbox))
    browser.receive(error(key))
    browser.receive(note(2))
    browser.receive(note(3))
    assert browser.waiting(RETRY) == 1
    sent = len(browser.sockets[-1].sent)
    browser.run(RETRY)
    assert len(browser.sockets[-1].sent) == sent + 1 and browser.waiting(RETRY) == 0
    browser.receive(error(key))
    browser.close()
    assert browser.waiting(RETRY) == 0


def test_a_newer_request_for_history_is_not_dropped(browser: FakeBrowser, chat: Any) -> None:
    """The timer of a request that failed leaves alone the one that was made after a new connection."""
    from chat.chat import PATIENCE

    chat.more()
    browser.receive(error(chat._asked))
    assert browser.waiting(PATIENCE) == 1
    browser.close()
    chat.link.connect()
    browser.receive(WELCOME, CAUGHT_UP)
    chat.newest()
    asked = chat._asked
    assert asked
    browser.run(PATIENCE)
    assert chat._asked == asked
    browser.receive(json.dumps({"type": "page", "id": asked, "seq": 9, "notes": [json.loads(note(7))]}))
    assert held(chat) == [7]


def test_a_failed_request_for_history_is_made_again(browser: FakeBrowser, chat: Any) -> None:
    """After a while the page may ask anew."""
    from chat.chat import PATIENCE

    chat.more()
    first = chat._asked
    browser.receive(error(first))
    chat.more()
    assert chat._asked == first
    browser.run(PATIENCE)
    assert chat._asked == ""


def test_the_reader_is_told(browser: FakeBrowser, chat: Any) -> None:
    """The status line says when the hub is out of reach, without its database, and back."""
    assert status(browser) == "Live"
    browser.receive('{"type":"status","listening":false}')
    assert "can’t reach its database" in status(browser)
    browser.receive('{"type":"status","listening":true}')
    assert status(browser) == "Live"
    browser.close()
    assert "hub can’t be reached" in status(browser)
    chat.link.connect()
    browser.receive('{"type":"status","listening":false}')
    assert "can’t reach its database" in status(browser)
    browser.receive(WELCOME, CAUGHT_UP)
    assert status(browser) == "Live"
    browser.receive(error(None, temporary=False))
    browser.close(3501)
    assert status(browser) == "The hub has refused this page. Not now. Reload it to try again."
    assert len(browser.sockets) == 2 and not {after for after, _ in browser.timers.values()} - {0}
