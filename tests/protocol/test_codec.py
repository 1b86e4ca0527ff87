"""Messages on the wire: what is accepted, what is refused and in which words, and that all survive the way."""

import json
import string
from datetime import UTC, datetime, timedelta, timezone
from typing import get_args

import msgspec
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from msgspec import Struct

from hub.errors import CommandError, ProtocolError
from hub.protocol import (
    MAX_LENGTH,
    Ack,
    Error,
    History,
    Limits,
    Message,
    Note,
    Page,
    Ping,
    Pong,
    Publish,
    Subscribe,
    Unsubscribe,
    Welcome,
    mistakes,
)
from hub.protocol.codec import convert, decode_message, encode
from hub.server.commands import KINDS
from hub.server.commands import decode as decode_command

texts = st.text(st.characters(exclude_categories=["Cs"]))
names = texts.map(lambda text: text.replace("\0", "")[:MAX_LENGTH]).filter(lambda text: text.strip())
ids = st.none() | st.integers() | texts
cursors = st.integers(0, 2**53 - 1)
rowids = st.integers(1, 2**63 - 1)
moments = st.datetimes(
    min_value=datetime(2, 1, 1), timezones=st.integers(-14, 14).map(lambda hours: timezone(timedelta(hours=hours)))
)
commands = st.one_of(
    st.builds(Publish, names, names, st.none() | names.filter(lambda name: name != "*"), st.none() | names, ids),
    st.builds(Subscribe, names, st.none() | cursors, ids),
    st.builds(Unsubscribe, names, ids),
    st.builds(History, names, st.none() | rowids, st.integers(1, 1000), ids),
    st.builds(Ping, ids),
)
notes = st.builds(Note, cursors, rowids, texts, texts, texts, moments, moments, st.none() | texts)
st.register_type_strategy(float, st.floats(allow_nan=False, allow_infinity=False))
messages = st.one_of(
    notes,
    st.builds(Page, st.lists(notes, max_size=3), cursors, ids),
    *(st.from_type(kind) for kind in get_args(Message) if kind not in (Note, Page)),
)


def refusal(data: bytes) -> Error:
    """The reply to a message that must not be accepted."""
    with pytest.raises(CommandError) as caught:
        decode_command(data)
    return caught.value.error


@given(commands)
def test_commands_round_trip(command: Struct) -> None:
    """Every valid command means the same after its way over the wire."""
    assert decode_command(encode(command)) == command


@pytest.mark.parametrize("data", ['{"type":"row","seq":1}', '{"rows":[{"type":"note"}],"type":"rows"}'])
def test_unknown_type(data: str) -> None:
    """A message of a later version is nothing that a client must understand."""
    assert decode_message(data) is None and decode_message(data.encode()) is None


def test_unknown_fields() -> None:
    """Fields of a later version are left out, in nested objects too."""
    data = encode(Welcome("notes.v1", "2.0", 1, ["a"], Limits(1, 2, 3, 4, 5.0))).decode()
    assert decode_message(data.replace("{", '{"new":{"type":"note"},')) == decode_message(data)


@pytest.mark.parametrize(
    "data", ["", "{", "[]", "1", '{"seq":1}', '{"type":1}', '{"type":"note","seq":"x"}', '{"type":"row"', "[" * 9999]
)
def test_malformed_messages(data: str) -> None:
    """What is no message of any version is one kind of error, with one line for people."""
    with pytest.raises(ProtocolError, match=r"\Athe hub sent something that is no message of notes.v1: .+\Z"):
        decode_message(data)


@given(messages)
def test_messages_round_trip(message: Message) -> None:
    """Every message of a hub means the same after its way over the wire."""
    try:
        data = encode(message)
    except UnicodeEncodeError:  # st.from_type makes lone surrogates, which no message holds
        assume(False)
    assert decode_message(data) == message


FIELDS = st.sampled_from(["type", "username", "body", "topic", "key", "id", "after", "before", "limit"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(string.printable),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS | st.text(max_size=5), inner, max_size=6),
)
almost = st.fixed_dictionaries(
    {"type": st.sampled_from(["publish", "subscribe", "unsubscribe", "history", "ping", "nope"]) | JSON},
    optional={"username": JSON, "body": JSON, "topic": JSON, "id": JSON, "after": JSON, "limit": JSON},
)


valid_json = (JSON | almost).map(json.dumps)


@given(st.binary() | st.one_of(texts, valid_json, valid_json.map(lambda line: line[:-1])).map(str.encode))
@example(b'{"a":' + b"[" * 100_000)
@example(b'{"type":"publish","username":"gb","body":' + b"[" * 100_000)
@example(b'{"username":"gb","body":"x","id":' + b'{"a":' * 100_000)
@example(b"\xed\xa0\x80")
def test_anything_is_a_command_or_an_error(data: bytes) -> None:
    """Whatever a client sends is a valid command or an error with code, message and hint; nothing else is raised."""
    error = None
    try:
        command = decode_command(data)
    except CommandError as raised:
        error = raised.error
    if error is None:
        assert type(command) in KINDS and decode_command(encode(command)) == command
    else:
        assert error.code in ("invalid_json", "invalid_message") and not error.temporary
        assert error.message and error.hint


def test_bare_line() -> None:
    """An object without a type is a publish, with whatever else a publish may have."""
    assert decode_command(b'{"username": "gb", "body": "Hello World!"}') == Publish("gb", "Hello World!")
    line = b'{"username":"gb","body":"hi","topic":"ops","key":"k","id":7}'
    assert decode_command(line) == Publish("gb", "hi", "ops", "k", 7)


def test_limits_are_inclusive() -> None:
    """Characters count as code points: 140 of any kind are accepted, one is enough."""
    for body in ("x" * 140, "😀" * 140, "x", "\u200dx", "a\nb"):
        assert decode_command(json.dumps({"username": "gb", "body": body}).encode()).body == body


def bare(**fields: object) -> bytes:
    return json.dumps({"username": "gb", "body": "hello", "id": 7, **fields}).encode()


VISIBLE = "needs at least one visible character, and no NUL"
INVALID = [
    (bare(body="x" * 141), "The note is too long: at most 140 characters, not 141", "Shorten"),
    (bare(username="x" * 141), "The name is too long", "Shorten"),
    (bare(topic="x" * 141), "`topic` is too long", "Shorten"),
    (bare(key="x" * 141), "`key` is too long", "Shorten"),
    (bare(body=""), f"The note {VISIBLE}", "."),
    (bare(username=""), f"The name {VISIBLE}", "."),
    (bare(topic=""), f"`topic` {VISIBLE}", "."),
    (bare(body=" \t\n\u3000"), f"The note {VISIBLE}", "."),
    (bare(username=" "), f"The name {VISIBLE}", "."),
    (bare(body="a\0b"), f"The note {VISIBLE}", "."),
    (bare(topic="*"), "`topic` cannot be `*`", "Name one topic"),
    (bare(body=5), "`body`: expected `str`, got `int`", mistakes.EXAMPLE),
    (bare(body=None), "`body`: expected `str`, got `null`", mistakes.EXAMPLE),
    (bare(colour="red"), "no field `colour`", mistakes.EXAMPLE),
    (bare(type="nope"), "'nope' is no type of message", "publish, subscribe, unsubscribe, history, ping"),
    (bare(type=3), "`type`: expected `str`", mistakes.EXAMPLE),
    (b'{"username":"gb","id":7}', "`body` is missing", mistakes.EXAMPLE),
    (b'{"type":"subscribe","id":7}', "`topic` is missing", mistakes.EXAMPLE),
    (b'{"type":"subscribe","topic":"a","after":-1,"id":7}', "`after`: expected `int` >= 0", mistakes.EXAMPLE),
    (
        b'{"type":"subscribe","topic":"a","after":9007199254740992,"id":7}',
        "`after`: expected `int` <= 900",
        mistakes.EXAMPLE,
    ),
    (b'{"type":"history","limit":1001,"id":7}', "`limit`: expected `int` <= 1000", mistakes.EXAMPLE),
    (b'{"type":"history","before":0,"id":7}', "`before`: expected `int` >= 1", mistakes.EXAMPLE),
]


@pytest.mark.parametrize(("line", "message", "hint"), INVALID)
def test_invalid_messages(line: bytes, message: str, hint: str) -> None:
    """A wrong field is named, with what was expected, what came and what to do; the reply has the client's id."""
    error = refusal(line)
    assert (error.code, error.id) == ("invalid_message", 7)
    assert message in error.message and hint in error.hint


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"hello",
        b'{"username":"gb"',
        b'{"type":"ping"} {"type":"ping"}',
        b'{"username":"gb","body":"\xff"}',
        b'{"username":"gb","body":"\\ud800"}',
        b'{"username":"gb","body":"\xed\xa0\x80"}',
        b"\xff\xfe",
        b'{"username":"gb","body":"x","type":' + b"[" * 100_000,
    ],
)
def test_invalid_json(line: bytes) -> None:
    """What is no JSON, or no UTF-8, is told so, with an example of what to send."""
    error = refusal(line)
    assert error.code == "invalid_json" and error.message and mistakes.EXAMPLE in error.hint


@pytest.mark.parametrize("line", [b"[]", b'[{"type":"ping"}]', b"5", b"null", b'"hello"', b"true", b'["type"]'])
def test_not_an_object(line: bytes) -> None:
    """JSON that is no object is answered with an example of one."""
    error = refusal(line)
    assert (error.code, error.id) == ("invalid_message", None)
    assert "expected `object`" in error.message and mistakes.EXAMPLE in error.hint


@pytest.mark.parametrize(("id", "echoed"), [(7, 7), ("a", "a"), (True, None), (1.5, None), ([], None), (None, None)])
def test_id_is_echoed_where_it_could_be_read(id: object, echoed: object) -> None:
    """A refusal carries the id where that is a number or a string, and none otherwise."""
    assert refusal(bare(body="", id=id)).id == echoed


def test_the_example_is_valid() -> None:
    """The example in the hints is a command, and the types that they list are all there are."""
    assert decode_command(mistakes.EXAMPLE.encode()) == Publish("gb", "Hello World!")
    tags = [kind.__struct_config__.tag for kind in KINDS]
    assert ", ".join(map(str, tags)) == "publish, subscribe, unsubscribe, history, ping"


def test_defaults_are_not_sent() -> None:
    """What is at its default takes no bytes, so that replies are short."""
    assert encode(Ack(1)) == b'{"type":"ack","id":1}'
    assert encode(Pong()) == b'{"type":"pong"}'
    moment = datetime(2022, 5, 3, tzinfo=UTC)
    assert "key" not in msgspec.json.decode(encode(Note(1, 1, "a", "b", "c", moment, moment)))


def test_convert() -> None:
    """Text from a form becomes a command, or an error in the same words, or with the caller's code and hint."""
    assert convert({"topic": "a", "limit": "5"}, History) == History("a", None, 5)
    with pytest.raises(CommandError) as caught:
        convert({"topic": "a", "limit": "many"}, History)
    assert caught.value.error.code == "invalid_message" and "`limit`" in caught.value.error.message
    with pytest.raises(CommandError) as caught:
        convert({"username": "gb", "body": "\ud800"}, Publish, "invalid_address", "Look.")
    assert (caught.value.error.code, caught.value.error.hint) == ("invalid_address", "Look.")
