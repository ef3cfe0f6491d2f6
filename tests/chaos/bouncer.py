"""A PgBouncer in transaction mode that can be restarted on the same port."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

from pgjobq.devdb.account import choose_account
from pgjobq.devdb.address import find_free_port
from support.bouncer import CONFIGURATION
from support.dsn import as_url
from support.waiting import eventually

__all__ = ["Bouncer", "open_bouncer"]


class Bouncer:
    """Runs in front of the server of `dsn`."""

    def __init__(self, program: str, dsn: str, directory: Path) -> None:
        self._account = choose_account()
        self.port = find_free_port()
        self.dsn = as_url(dsn, host="127.0.0.1", port=self.port, password=None)
        server = {k: v for k, v in conninfo_to_dict(dsn).items() if k in ("host", "port", "user", "password")}
        quoted = " ".join(f"{key}='" + str(value).replace("'", "''") + "'" for key, value in server.items())
        ini = directory / "pgbouncer.ini"
        text = CONFIGURATION.format(server=quoted, port=self.port, directory=directory)
        ini.write_text(text + "server_login_retry = 1\n")  # 15 s by default: so long it makes all wait after an outage
        self._account.own(ini)
        self._account.own(directory)
        self._command = [program, "-q", str(ini)]
        self.start()

    def start(self) -> None:
        """Run it, and wait until it answers."""
        quiet = subprocess.DEVNULL
        self._popen = subprocess.Popen(
            self._command, cwd="/", stdin=quiet, stdout=quiet, stderr=quiet, **self._account.popen
        )
        eventually(self._answers, 20, ignoring=(OSError,))

    def _answers(self) -> bool:
        if self._popen.poll() is not None:
            raise RuntimeError(f"pgbouncer ended with {self._popen.returncode}")
        socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
        return True  # it listens; whether the server behind it answers is another question

    def kill(self) -> None:
        """It goes at once, and every connection with it."""
        self._popen.kill()
        self._popen.wait(20)


@contextlib.contextmanager
def open_bouncer(program: str, dsn: str) -> Iterator[Bouncer]:
    """One for the block."""
    directory = Path(tempfile.mkdtemp(prefix="pgjobq-chaos-bouncer-", dir="/tmp"))
    try:
        bouncer = Bouncer(program, dsn, directory)
        try:
            yield bouncer
        finally:
            bouncer.kill()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
