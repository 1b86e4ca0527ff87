"""The whole walkthrough with the real programs: psql, curl, websocat, and the hub as a process."""

import asyncio
import contextlib
import json
import re
import signal
import sys
from pathlib import Path

import aiohttp
import asyncpg

from hub.embedded import server as embedded
from tests.programs import hub_process, output, program, psql, websocat

HUB = (sys.executable, "-m", "hub")
INSERT = "INSERT INTO note(username, body) VALUES('gb', 'hello world')"
HELLO = '{"username": "gb", "body": "Hello World!"}'


async def test_psql_describes_the_table(url: str) -> None:
    """`\\d note` in psql shows the original's columns and the triggers."""
    table = await output(*psql(url, "-c", r"\d note"))
    for column in ("rowid", "created_timestamp", "updated_timestamp", "username", "body"):
        assert re.search(rf"^ {column} ", table, re.MULTILINE), table
    assert "character varying(140)" in table and "note_log_row" in table


async def test_psql_hears_an_insert(url: str) -> None:
    """LISTEN channel_note in psql prints a payload that has the row's keys, the original's first."""
    printed = await output(*psql(url), stdin=f"LISTEN channel_note;\n{INSERT};\n")
    payload = json.loads(re.findall(r'notification "channel_note" with payload "(.*)" received', printed)[0])
    assert list(payload)[:5] == ["rowid", "created_timestamp", "updated_timestamp", "username", "body"]
    assert (payload["rowid"], payload["username"], payload["body"]) == (1, "gb", "hello world")


async def test_listen_command(url: str) -> None:
    """`notes-hub listen` prints each notification as it comes, without a hub."""
    async with program(*HUB, "listen", "--database-url", url, stderr_too=True) as listen:
        await listen.until("Listening on channel_note")
        await output(*psql(url, "-c", INSERT))
        line = await listen.line()
        assert re.match(r'Got NOTIFY: \d+ channel_note \{"rowid":1,.*"username":"gb","body":"hello world"', line)
        assert await listen.end(signal.SIGINT) == 130


async def test_curl(url: str) -> None:
    """`curl -d` posts a note that `curl -N` on /listen_notes receives, and one of 141 characters is refused."""
    async with hub_process(url) as hub, program("curl", "-sN", f"{hub.address}/listen_notes?last=5") as stream:
        await stream.until("caught_up")
        created = json.loads(await output("curl", "-s", "-d", HELLO, f"{hub.address}/notes"))
        assert created["body"] == "Hello World!"
        assert json.loads(await stream.line()) == created
        long = json.dumps({"username": "gb", "body": "x" * 141})
        refused = await output("curl", "-s", "-w", "%{http_code}", "-d", long, f"{hub.address}/notes")
        assert "at most 140 characters" in refused and refused.endswith("400")
        await output(*psql(url, "-c", INSERT))
        assert json.loads(await stream.line())["body"] == "hello world"


async def test_preflight(url: str) -> None:
    """The browser's OPTIONS request from the original's own page address is answered with what it needs."""
    async with hub_process(url) as hub:
        request = ("-H", "Origin: http://localhost:8000", "-H", "Access-Control-Request-Method: POST")
        answer = await output("curl", "-si", "-X", "OPTIONS", *request, f"{hub.address}/notes")
        assert "204" in answer.splitlines()[0]
        assert "access-control-allow-origin: http://localhost:8000" in answer.lower()
        assert "POST" in answer


async def test_websocat_json(url: str) -> None:
    """websocat submits a JSON publish and a bare line, and receives acks and notes."""
    async with hub_process(url) as hub, program(*websocat(f"{hub.address}/ws")) as client:
        await client.until("welcome")
        await client.send('{"type":"publish","username":"gb","body":"as JSON","id":1}')
        await client.send('{"username":"gb","body":"as a bare line"}')
        messages = [json.loads(await client.line()) for _ in range(4)]
        notes = [message for message in messages if message["type"] == "note"]
        acks = [message for message in messages if message["type"] == "ack"]
        assert [note["body"] for note in notes] == ["as JSON", "as a bare line"]
        assert acks[0]["id"] == 1 and [ack["rowid"] for ack in acks] == [1, 2]


async def test_websocat_text(url: str) -> None:
    """In the text format each line typed is a note, each note a readable line, each error starts with `!`."""
    async with hub_process(url) as hub, program(*websocat(f"{hub.address}/ws?format=text&username=gb")) as client:
        await client.until(r"^\* connected to #lobby")
        await client.send("Grüße 🎉 مرحبا")
        assert re.fullmatch(r"\d\d:\d\d:\d\d #lobby gb: Grüße 🎉 مرحبا", await client.line())
        await client.send("")
        assert (await client.line()).startswith("! ")
        await client.send("still here")
        await client.until("gb: still here")


async def test_resume_after_a_restart(url: str) -> None:
    """A client that gives `after=` to a hub started anew gets what it missed, in order, and nothing twice."""
    async with hub_process(url) as hub, program(*websocat(f"{hub.address}/ws")) as client:
        await client.until("welcome")
        await client.send(HELLO)
        seq = json.loads(await client.until('"note"'))["seq"]
        await hub.end(signal.SIGKILL)
    for number in range(3):
        await output(*psql(url, "-c", f"INSERT INTO note(username, body) VALUES('gb', 'missed {number}')"))
    async with hub_process(url) as hub, program(*websocat(f"{hub.address}/ws?after={seq}")) as client:
        await client.until("welcome")
        bodies = [json.loads(await client.line()).get("body") for _ in range(4)]
        assert bodies == ["missed 0", "missed 1", "missed 2", None]


async def test_graceful_stop(url: str) -> None:
    """SIGTERM closes a WebSocket with 1001 and ends a stream; every note is acked and saved, or refused."""
    async with (
        hub_process(url) as hub,
        aiohttp.ClientSession() as http,
        http.ws_connect(f"{hub.address}/ws?topic=") as socket,
        http.get(f"{hub.address}/listen_notes") as stream,
    ):
        with contextlib.suppress(ConnectionError):  # from when the hub has gone
            for number in range(3000):
                await socket.send_json({"username": "gb", "body": str(number)})
                if number == 1000:
                    hub.process.send_signal(signal.SIGTERM)
        answers = []
        while (message := await socket.receive()).type is aiohttp.WSMsgType.TEXT:
            answers.append(json.loads(message.data)["type"])
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1001)
        assert await hub.process.wait() == 0
        lines = (await stream.content.read()).splitlines()
    connection = await asyncpg.connect(url)
    saved = await connection.fetchval("select count(*) from note")
    await connection.close()
    assert answers.count("ack") == saved > 0
    assert len(lines) <= saved


async def test_embedded_survives_kill(tmp_path: Path) -> None:
    """A hub that is killed leaves no Postgres behind and no acknowledged note out."""
    options = ["--data-dir", str(tmp_path / "data")]
    async with hub_process(options=options) as hub:
        await output("curl", "-s", "-d", HELLO, f"{hub.address}/notes")
        await hub.end(signal.SIGKILL)
    async with hub_process(options=options) as hub:
        page = json.loads(await output("curl", "-s", f"{hub.address}/notes"))
        assert [note["body"] for note in page["notes"]] == ["Hello World!"]
    assert not embedded.is_running(tmp_path / "data")


async def test_two_hubs_on_one_folder(tmp_path: Path) -> None:
    """A second hub on the same folder shares the server: a note posted at one is received at the other."""
    options = ["--data-dir", str(tmp_path / "data")]
    async with (
        hub_process(options=options) as one,
        hub_process(options=options) as two,
        program("curl", "-sN", f"{two.address}/listen_notes?last=1") as stream,
    ):
        await stream.until("caught_up")
        await output("curl", "-s", "-d", HELLO, f"{one.address}/notes")
        await stream.until("Hello World!")


async def test_port_taken(url: str) -> None:
    """A port that is taken ends the start with one line that names it."""
    async with hub_process(url) as hub:
        port = hub.address.rpartition(":")[2]
        printed = await output(*HUB, "serve", "--database-url", url, "--port", port, status=1)
        last = printed.splitlines()[-1]
        assert last.startswith("Error: ") and port in last and "Traceback" not in printed


async def test_bulk_insert(url: str) -> None:
    """10,000 rows of one statement reach 50 clients, all of them, in the order of their seq, in under 150 MB."""
    async with hub_process(url) as hub, asyncio.TaskGroup() as tasks:
        connected = asyncio.Semaphore(0)
        followers = [tasks.create_task(_follow(hub.address, b'"body":"10000"', connected)) for _ in range(50)]
        for _ in followers:
            await connected.acquire()
        connection = await asyncpg.connect(url)
        await connection.execute("insert into note (username, body) select 'gb', n from generate_series(1, 10000) n")
        await connection.close()
        received = {await follower for follower in followers}
        assert len(received) == 1  # the very same bytes for all
        data = received.pop()
        assert re.findall(rb'"body":"(\d+)"', data) == [b"%d" % number for number in range(1, 10_001)]
        seqs = [int(seq) for seq in re.findall(rb'"seq":(\d+)', data)]
        assert seqs == sorted(set(seqs))
        assert hub.peak_memory() < 150_000_000


async def _follow(address: str, last: bytes, connected: asyncio.Semaphore) -> bytes:
    """The bytes of a WebSocket after the welcome, up to a last message: no client library slows them down."""
    host, port = address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 24)
    key = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    writer.write(
        b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" + key + b"\r\n"
    )
    await reader.readuntil(b'"type":"welcome"')
    await reader.readuntil(b"}}")
    connected.release()
    async with asyncio.timeout(60):
        data = await reader.readuntil(last)
    writer.close()
    return data
