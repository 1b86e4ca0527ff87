"""The data folder of the embedded Postgres.

Owns what must be true of the folder before a server starts: it exists, it is of this version, and no earlier server
uses it. It never starts the server itself; `server` does.
"""

import asyncio
import re
import shutil
import tempfile
import time
from pathlib import Path

from hub.embedded.files import is_postmaster
from hub.embedded.programs import Programs
from hub.embedded.user import give
from hub.errors import EmbeddedError

PREVIOUS_SECONDS = 20  # until the Postgres of a killed owner must have ended
INITDB = (
    "--username=postgres",
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--auth-local=trust",
    "--auth-host=reject",
    "--no-instructions",
)


class Cluster(Programs):
    """One data folder and the programs that work on it."""

    async def wait_for_previous(self) -> None:
        """Wait for the Postgres of an owner that was killed, which may still be shutting down.

        Raises EmbeddedError after PREVIOUS_SECONDS.
        """
        give_up = time.monotonic() + PREVIOUS_SECONDS
        while (pid := self.recorded_pid()) and is_postmaster(pid, self.pgdata):
            if time.monotonic() > give_up:
                raise EmbeddedError(
                    f"another Postgres (process {pid}) keeps running in {self.data_dir}: stop it (kill -INT {pid})"
                )
            await asyncio.sleep(0.02)

    async def create(self, uid: int, *options: str) -> None:
        """Make the cluster in a temporary folder and rename it, so that a start that is killed half-way leaves no half.

        `uid` is the user who owns the files; the options are initdb's. Raises EmbeddedError.
        """
        for leftover in self.data_dir.glob("initdb-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        new = Path(tempfile.mkdtemp(prefix="initdb-", dir=self.data_dir))
        try:
            give(new, uid)
            await self.run("initdb", "-D", str(new), *INITDB, *options)
            await self.run(
                "postgres",
                "--single",
                "-D",
                str(new),
                "-c",
                "exit_on_error=on",
                "postgres",
                stdin=b"CREATE DATABASE notes;\n",
            )
            new.rename(self.pgdata)
        finally:
            shutil.rmtree(new, ignore_errors=True)

    async def check_version(self) -> None:
        """Raise EmbeddedError unless the folder is of this Postgres's major version.

        No other version reads it (Postgres manual, "Upgrading a PostgreSQL Cluster").
        """
        file = self.pgdata / "PG_VERSION"
        if not file.exists():
            raise EmbeddedError(f"{self.pgdata} is no Postgres data folder: move it away or choose another --data-dir")
        needed = re.findall(r"\d+", await self.run("postgres", "-V"))[0]
        if (found := file.read_text().strip()) != needed:
            raise EmbeddedError(
                f"{self.data_dir} was made by Postgres {found}, this is Postgres {needed}: dump it with the "
                "old version (pg_dump) and load it here, or choose another --data-dir"
            )
