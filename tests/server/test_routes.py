"""What each address answers over HTTP, with curl's and a browser's requests."""

import asyncio
import json

import asyncpg
import pytest

from hub.protocol import Note, Page
from hub.protocol.codec import decode_message
from tests.conftest import Http, is_error

FORM = "application/x-www-form-urlencoded"
INSERT = "insert into note (username, topic, body) values ('gb', $1, $2)"


async def count(database: asyncpg.Connection) -> int:
    return await database.fetchval("select count(*) from note")


@pytest.mark.parametrize(
    "content_type", [FORM, "application/json", "text/plain;charset=UTF-8", "application/octet-stream"]
)
async def test_post_json(http: Http, database: asyncpg.Connection, content_type: str) -> None:
    """JSON is a note whatever the content type says, as curl -d and the original's page send it; 201 with the note."""
    status, headers, note = await http.post(b' {"username": "gb", "body": "Hello World!"}', Content_Type=content_type)
    assert (status, headers["Location"]) == (201, "/notes/1")
    row = await database.fetchrow("select * from note")
    assert (note["rowid"], note["topic"], note["username"], note["body"]) == (1, "lobby", "gb", "Hello World!")
    assert (row["username"], row["body"], row["key"]) == ("gb", "Hello World!", None)
    assert note["seq"] == await database.fetchval("select max(seq) from note_event")


async def test_post_with_everything(http: Http, database: asyncpg.Connection) -> None:
    """A topic and a key count; the same key again is the same note."""
    body = '{"type":"publish","username":"gb","body":"hi","topic":"ops","key":"k"}'
    first, second = await http.post(body), await http.post(body)
    assert first[0] == second[0] == 201 and first[2] == second[2] and first[2]["topic"] == "ops"
    assert await count(database) == 1


async def test_post_form(http: Http, database: asyncpg.Connection) -> None:
    """A form is a note, too, and a browser's is answered with the page."""
    fields = {"username": "gb", "body": "a & ü", "topic": ""}
    status, _, note = await http.post(fields)
    assert (status, note["body"], note["topic"]) == (201, "a & ü", "lobby")
    status, headers, _ = await http.post(fields, Accept="text/html,application/xhtml+xml")
    assert (status, headers["Location"]) == (303, "/")
    assert await count(database) == 2


@pytest.mark.parametrize("charset", ["nonsense", "unicode_escape", "utf-7", "zip"])
async def test_charset_of_a_form(http: Http, charset: str) -> None:
    """A form is UTF-8, whatever its content type says: no decoder of the client's choice runs, and the hub lives."""
    status, _, note = await http.post(b"username=gb&body=%2BAGE-\\ud800", Content_Type=f"{FORM}; charset={charset}")
    assert (status, note["body"]) == (201, "+AGE-\\ud800")
    assert (await http.get("/readyz"))[0] == 200


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", "application/json"),
        (b"", FORM),
        (b"username=gb", FORM),
        (b"username=gb&body=+", FORM),
        (b"username=gb&body=x&colour=red", FORM),
        (b"username=gb&body=" + b"x" * 141, FORM),
        (b"username=gb&body=%00", FORM),
        (b"username=gb&body=\xff\xfe", FORM),
        (b"nonsense", "multipart/form-data"),
        (b"nonsense", "multipart/form-data; boundary=x"),
        (
            b'--x\r\nContent-Disposition: form-data; name="body"; filename="f"\r\n\r\nx\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
        ),
        (b'{"username":"gb","body":"' + b"x" * 141 + b'"}', "application/json"),
        (b'{"username":"gb","body":"\\u0000"}', FORM),
        (b'{"type":"ping"}', "application/json"),
        (b"[]", "application/json"),
        (b'{"a":' + b"[" * 60_000, "application/json"),
    ],
)
async def test_post_invalid(http: Http, database: asyncpg.Connection, body: bytes, content_type: str) -> None:
    """Whatever is wrong with a body is a 400 that says what; nothing is saved, and the hub goes on."""
    assert is_error(await http.post(body, Content_Type=content_type), 400)
    assert await count(database) == 0
    assert (await http.post('{"username":"gb","body":"x"}'))[0] == 201


async def test_post_too_much(http: Http) -> None:
    """A body over the limit is a 413."""
    assert is_error(await http.post(b"x" * 70_000), 413)


async def test_post_refused(http: Http, database: asyncpg.Connection) -> None:
    """What the database refuses is a 422 with its words."""
    await database.execute("alter table note add constraint polite check (body <> 'rude')")
    answer = await http.post('{"username":"gb","body":"rude"}')
    assert is_error(answer, 422) and "polite" in answer[2]["message"]


async def test_get_notes(http: Http, database: asyncpg.Connection) -> None:
    """Pages of notes: of a topic, of all, before a rowid, after a seq; with the seq to stream on from."""
    for number in range(6):
        await database.execute(INSERT, "ab"[number % 2], str(number))

    async def bodies(query: str) -> list[str]:
        async with asyncio.timeout(5):
            status, headers, page = await http.get("/notes" + query)
        assert status == 200 and headers["Cache-Control"] == "no-store"
        message = decode_message(json.dumps(page))
        assert isinstance(message, Page)
        assert message.seq == await database.fetchval("select max(seq) from note_event")
        return [note.body for note in message.notes]

    third = await database.fetchval("select seq from note_event where rowid = 3")
    assert await bodies("") == []
    assert await bodies("?topic=a") == ["0", "2", "4"]
    assert await bodies("?topic=*&limit=2") == ["4", "5"]
    assert await bodies("?topic=*&limit=2&before=5") == ["2", "3"]
    assert await bodies(f"?topic=b&after={third}") == ["3", "5"]


@pytest.mark.parametrize(
    "query",
    [
        "after=x",
        "limit=0",
        "limit=1001",
        "before=0",
        "before=99999999999999999999",
        "topic=",
        "colour=red",
        "before=1&after=1",
    ],
)
async def test_get_notes_wrongly(http: Http, query: str) -> None:
    """A wrong query is a 400."""
    assert is_error(await http.get(f"/notes?{query}"), 400)


async def test_get_note(http: Http, database: asyncpg.Connection) -> None:
    """One note by its rowid; 404 for none, 400 for what is no rowid."""
    await database.execute(INSERT, "a", "hello")
    status, _, note = await http.get("/notes/1")
    message = decode_message(json.dumps(note))
    assert status == 200 and isinstance(message, Note) and (message.rowid, message.body) == (1, "hello")
    assert is_error(await http.get("/notes/2"), 404) and is_error(await http.get("/notes/9223372036854775807"), 404)
    for rowid in ("0", "-1", "x", "9223372036854775808", "1.5"):
        assert is_error(await http.get(f"/notes/{rowid}"), 400), rowid


async def test_page(http: Http, database: asyncpg.Connection) -> None:
    """The page has the newest notes of the lobby in its HTML, as text only."""
    await database.execute(INSERT, "lobby", '<script>alert("1")</script> $notes')
    await database.execute(INSERT, "other", "elsewhere")
    status, headers, body = await http.get("/")
    text = body.decode()
    assert status == 200 and headers["Content-Type"].startswith("text/html")
    assert "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt; $notes" in text and "elsewhere" not in text
    assert str(await database.fetchval("select min(seq) from note_event")) in text or "data-seq" in text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/notes/1/x", 404),
        ("DELETE", "/notes", 405),
        ("PUT", "/notes/1", 405),
        ("POST", "/", 405),
        ("POST", "/listen_notes", 405),
        ("GET", "/ws", 426),
    ],
)
async def test_wrong_address_or_method(http: Http, method: str, path: str, status: int) -> None:
    """An unknown address, a wrong method, a WebSocket's address without one: JSON with a hint, and what is allowed."""
    answer = await http.ask(method, path)
    assert is_error(answer, status)
    assert ("Allow" in answer[1]) == (status == 405) and ("Upgrade" in answer[1]) == (status == 426)


@pytest.mark.parametrize("path", ["/", "/notes", "/healthz", "/readyz", "/listen_notes", "/ws", "/nothing"])
async def test_head(http: Http, path: str) -> None:
    """HEAD is answered at once, without a body, whatever the address."""
    status, _, body = await http.ask("HEAD", path)
    assert status in (200, 404, 405, 426) and not body
    # Nothing streams on into the connection's next reply.
    assert (await http.get("/healthz"))[2]["connections"] == 0
