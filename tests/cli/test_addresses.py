"""What one gives to post, tail and chat: a wrong address or topic is one line at once, which says what to do."""

import asyncio

import pytest

from tests.cli.test_cli import invoke, one_line, run


@pytest.mark.parametrize("command", [["post", "-u", "gb", "hello"], ["tail"], ["chat"]], ids=lambda command: command[0])
@pytest.mark.parametrize("url", ["127.0.0.1:1", "nonsense", "localhost:8080", "ftp://x", "http://", "http://h:abc"])
def test_addresses(command: list[str], url: str) -> None:
    """A wrong address is refused before anything is sent, with an example of a right one."""
    result = invoke(*command, "--url", url)
    assert result.exit_code == 1 and "--url" in one_line(result.stderr) and "http://127.0.0.1:8080" in result.stderr
    result = invoke(*command, HUB_URL=url)
    assert result.exit_code == 1 and "HUB_URL" in one_line(result.stderr)


@pytest.mark.parametrize("topic", ["", "x" * 141])
@pytest.mark.parametrize("command", [["post", "-u", "gb", "hello"], ["tail"], ["chat"]], ids=lambda command: command[0])
def test_topics(command: list[str], topic: str) -> None:
    """A topic that cannot be one is refused before anything is sent."""
    result = invoke(*command, "-t", topic)
    assert result.exit_code == 1 and "`topic`" in one_line(result.stderr)
    if command[0] != "post":
        assert "such as lobby" in result.stderr


@pytest.mark.parametrize(
    "answer", [b"E\0\0\0\x0fSFATAL\0\0\n\n", b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"]
)
async def test_no_hub(answer: bytes) -> None:
    """Where something else answers, such as a database or another website, post says so in one line."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        code, out, err = await run("post", "-u", "gb", "hello", "--url", address)
    assert (code, out) == (1, "") and "no hub" in one_line(err) and address in err
