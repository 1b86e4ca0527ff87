"""The command: help for people, one line for each failure, and what scripts rely on."""

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import asyncpg
import click
import pytest
from click.testing import CliRunner, Result

from hub import __version__
from hub.cli import main
from hub.settings import Settings, environment_names
from tests.conftest import connected, copy

CONTEXT = click.Context(main)
COMMANDS = main.list_commands(CONTEXT)
PRINTED = {"listen": "Got NOTIFY: "}  # examples that show what comes, by how such a line begins


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the developer has set does not count."""
    for name in list(os.environ):
        if name.startswith("HUB_") or name in ("PORT", "DATABASE_URL", "COLUMNS"):
            monkeypatch.delenv(name)


def help_of(*arguments: str) -> str:
    result = CliRunner().invoke(main, [*arguments, "--help"], terminal_width=100)
    assert result.exit_code == 0
    return result.output


async def run(*arguments: str, stdin: bytes = b"", **environ: str) -> tuple[int, str, str]:
    """Run the command as a program."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "hub", *arguments, env=os.environ | environ, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(30):
        out, err = await process.communicate(stdin)
    assert process.returncode is not None and b"Traceback" not in out + err, err.decode()
    return process.returncode, out.decode(), err.decode()


def one_line(err: str) -> str:
    """The message of a failure: a single line."""
    lines = [line for line in err.splitlines() if not line.startswith("{")]
    assert len(lines) == 1 and lines[0].startswith("Error: "), err
    return lines[0]


def test_commands() -> None:
    """All the commands are there, and the help of the whole lists each with what it does."""
    assert {"serve", "migrate", "listen", "post", "database-url", "psql", "check"} <= set(COMMANDS)
    text = help_of()
    assert all(f"\n  {name}" in text for name in COMMANDS) and "notes-hub serve" in text


def examples(text: str) -> list[str]:
    """The commands in a help's block of examples, which is headed as their number demands."""
    heading, block = re.findall(r"^  (Examples?):\n((?:    .+\n)+)", text, re.MULTILINE)[0]
    lines = [line.removeprefix("    ") for line in block.splitlines()]
    found = [line for line in lines if not line.startswith(tuple(PRINTED.values()))]
    assert heading == ("Example" if len(found) == 1 else "Examples")
    return found


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_narrow_help(name: str) -> None:
    """No line of a help is wider than a terminal of 80 columns."""
    result = CliRunner().invoke(main, [*filter(None, [name]), "--help"], terminal_width=80)
    assert result.exit_code == 0 and all(len(line) <= 80 for line in result.output.splitlines()), result.output


@pytest.mark.parametrize("name", COMMANDS)
def test_help(name: str) -> None:
    """Every command says in a sentence what it does, and each of its examples is a line that runs it."""
    usage, sentence, *_ = help_of(name).split("\n\n")
    command = main.get_command(CONTEXT, name)
    assert command and f" {name} " in usage
    assert re.fullmatch(r"[A-Z].*[^.]\.", " ".join(sentence.split()), re.DOTALL)
    assert command.get_short_help_str(100) == " ".join(sentence.split())
    # Before the command itself only variables, and a program that it feeds or that feeds it.
    shape = rf'([A-Z_]+=\S+ )*(\w+ (\| |"\$\())?notes-hub {name}( .+|\)")?'
    for example in examples(help_of(name)):
        assert re.fullmatch(shape, example), example


def test_help_of_all_settings() -> None:
    """The help of serve has every setting: its option, its variables and its default."""
    text = " ".join(help_of("serve").split())
    for field in Settings.__struct_fields__:
        default = getattr(Settings(), field)
        default = "true" if default is True else default
        assert f"--{field.replace('_', '-')} VALUE" in text
        assert f"[{', '.join(environment_names(field))}; default: {default if default != '' else 'none'}]" in text, (
            field
        )


def invoke(*arguments: str, **environ: str) -> Result:
    return CliRunner(env=environ).invoke(main, arguments)


def test_version() -> None:
    """--version tells it."""
    assert __version__ in invoke("--version").output


@pytest.mark.parametrize(
    ("arguments", "environ", "words"),
    [
        (["serve", "--port", "eighty"], {}, "--port is 'eighty'"),
        (["serve"], {"HUB_PORT": "70000"}, "HUB_PORT is '70000'"),
        (["migrate"], {"HUB_LOG_LEVEL": "loud"}, "HUB_LOG_LEVEL is 'loud'"),
        (["post", "-u", "gb", "x" * 141], {}, "at most 140"),
        (["post", "-u", "gb", " "], {}, "visible character"),
        (["prune", "--older-than", "90"], {}, "as in 90d"),
        (["prune", "--older-than", "9999999d"], {}, "calendars"),
    ],
)
def test_wrong_values(arguments: list[str], environ: dict[str, str], words: str) -> None:
    """A wrong setting or argument is one line that names it, and a non-zero exit, before anything is started."""
    result = invoke(*arguments, **environ)
    assert result.exit_code == 1 and words in one_line(result.stderr)


@pytest.mark.parametrize("arguments", [["sevre"], ["serve", "--prot", "80"], ["migrate", "x"]])
def test_usage_errors(arguments: list[str]) -> None:
    """A misspelt command or option exits with 2 and points to the help."""
    result = invoke(*arguments)
    assert result.exit_code == 2 and "--help" in result.stderr


async def test_post_without_a_hub(unused_tcp_port: int) -> None:
    """With no hub there post says so in one line, and how to start one."""
    code, out, err = await run("post", "-u", "gb", "hello", "--url", f"http://127.0.0.1:{unused_tcp_port}")
    assert (code, out) == (1, "") and "notes-hub serve" in one_line(err) and str(unused_tcp_port) in err


async def test_post(start_hub, database: asyncpg.Connection) -> None:
    """Post prints the saved note; its text may come on standard input; what is refused is one line."""
    await database.execute("alter table note add constraint polite check (body <> 'rude')")
    async with start_hub() as (_, address):
        code, out, _ = await run("post", "-u", "gb", "-t", "ops", "-k", "k", "Hello World!", HUB_URL=address)
        note = json.loads(out)
        assert code == 0 and (note["username"], note["topic"], note["body"]) == ("gb", "ops", "Hello World!")
        code, out, _ = await run("post", "--url", address + "/", USER="me", stdin=b"from a pipe\n")
        assert code == 0 and (json.loads(out)["username"], json.loads(out)["body"]) == ("me", "from a pipe")
        code, out, err = await run("post", "-u", "gb", "rude", "--url", address)
        assert (code, out) == (1, "") and "polite" in one_line(err)
    assert await database.fetchval("select count(*) from note") == 2


async def test_migrate(empty_url: str) -> None:
    """Migrate applies what is missing, once."""
    first, second = await run("migrate", DATABASE_URL=empty_url), await run("migrate", "--database-url", empty_url)
    assert first[0] == second[0] == 0 and "applied 1" in first[1] and "nothing to do" in second[1]


async def test_check(url: str, database: asyncpg.Connection) -> None:
    """Check exits with 0 when all is well, and with 1 when a trigger is off or a variable misspelt, and says which."""
    name = await database.fetchval("select current_database()")
    await database.execute(f"alter database {name} set synchronous_commit = on")
    code, out, _ = await run("check", DATABASE_URL=url)
    assert code == 0 and all(line.startswith("ok ") for line in out.splitlines()) and len(out.splitlines()) > 6
    code, out, _ = await run("check", DATABASE_URL=url, HUB_PROT="80")
    assert code == 1 and [line for line in out.splitlines() if line.startswith("!!")] == [
        "!!  HUB_PROT is set but is no setting."
    ]
    await database.execute("alter table note disable trigger note_log_row")
    code, out, _ = await run("check", DATABASE_URL=url)
    assert code == 1 and "!!  The trigger note_log_row is off" in out


async def test_check_writes_nothing(empty_url: str) -> None:
    """Check on a database without the schema says what to run, and makes nothing there."""
    code, out, _ = await run("check", DATABASE_URL=empty_url)
    assert code == 1 and "Run: notes-hub migrate" in out and ", test_" in out
    assert "applied 1" in (await run("migrate", DATABASE_URL=empty_url))[1]


async def test_an_older_table(empty_url: str) -> None:
    """A table note with columns that the hub can't use is one line that names the statement for each."""
    async with connected(empty_url) as database:
        await database.execute("create table note (rowid serial primary key, username text, body text)")
    for command in ("migrate", "serve"):
        code, _, err = await run(command, DATABASE_URL=empty_url, HUB_PORT="0")
        assert code == 1 and one_line(err).count("alter table note") >= 4


@pytest.mark.parametrize("command", ["check", "migrate", "listen"])
async def test_no_database(command: str, server: str, unused_tcp_port: int) -> None:
    """A database that is not there, or does not exist, is one line."""
    code, _, err = await run(command, DATABASE_URL=f"postgresql://x@127.0.0.1:{unused_tcp_port}/x")
    assert code == 1 and one_line(err)
    code, _, err = await run(command, DATABASE_URL=server.replace("/notes?", "/nothing?"))
    assert code == 1 and "nothing" in one_line(err)


async def test_database_url(cluster: Path, tmp_path: Path) -> None:
    """What is given is printed; else the embedded one's URL, with a word on standard error while it does not run."""
    given = "postgresql://gb@db/notes"
    assert await run("database-url", DATABASE_URL=given) == (0, given + "\n", "")
    copy(cluster, tmp_path / "data")
    code, out, err = await run("database-url", "--data-dir", str(tmp_path / "data"))
    assert code == 0 and out.startswith("postgresql://") and out.count("\n") == 1 and "notes-hub serve" in err


async def test_psql(url: str, database: asyncpg.Connection) -> None:
    """Psql gets its own arguments, standard input and exit status."""
    code, out, _ = await run("psql", "-At", "-c", "select 6 * 7", DATABASE_URL=url)
    assert (code, out) == (0, "42\n")
    code, out, _ = await run(
        "psql", "-At", stdin=b"insert into note(username, body) values ('gb', 'x') returning rowid;", DATABASE_URL=url
    )
    assert code == 0 and out.startswith("1\n") and await database.fetchval("select count(*) from note") == 1
    code, _, err = await run("psql", "-c", "nonsense", DATABASE_URL=url)
    assert code == 1 and "nonsense" in err


async def test_a_busy_port(url: str, start_hub) -> None:
    """Serve on a port that is taken is one line that names it."""
    async with start_hub() as (_, address):
        port = address.rpartition(":")[2]
        code, _, err = await run("serve", "--port", port, DATABASE_URL=url)
        assert code == 1 and port in one_line(err) and "in use" in err


def test_the_group_is_clicks() -> None:
    """Each command of the group is a click command with parameters that are documented."""
    for name, command in main.commands.items():
        for parameter in command.load().params:
            assert not isinstance(parameter, click.Option) or parameter.help, (name, parameter.name)
