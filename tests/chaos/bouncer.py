"""A PgBouncer in transaction mode that can be restarted on the same port."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

from pgjobq.devdb.account import choose_account
from support.bouncer import CONFIGURATION, Ended, listens, on_free_port
from support.dsn import as_url
from support.waiting import eventually

__all__ = ["Bouncer", "open_bouncer"]


class Bouncer:
    """Runs in front of the server of `dsn`, on this port; Ended if somebody has it."""

    def __init__(self, program: str, dsn: str, port: int, directory: Path) -> None:
        self._account, self._directory = choose_account(), directory
        self.port = port
        self.dsn = as_url(dsn, host="127.0.0.1", port=port, password=None)
        server = {k: v for k, v in conninfo_to_dict(dsn).items() if k in ("host", "port", "user", "password")}
        quoted = " ".join(f"{key}='" + str(value).replace("'", "''") + "'" for key, value in server.items())
        ini = directory / "pgbouncer.ini"
        text = CONFIGURATION.format(server=quoted, port=port, directory=directory)
        ini.write_text(text + "server_login_retry = 1\n")  # 15 s by default: so long it makes all wait after an outage
        self._account.own(ini)
        self._account.own(directory)
        self._command = [program, "-q", str(ini)]
        self._popen = self._run()
        eventually(self._listens, 20)

    def start(self) -> None:
        """Run it again, and wait until it listens; again and again while somebody else has its port."""
        self._popen = self._run()
        eventually(self._listens_at_last, 20, ignoring=(Ended,))

    def _run(self) -> subprocess.Popen[bytes]:
        quiet = subprocess.DEVNULL
        (self._directory / "log").unlink(missing_ok=True)
        return subprocess.Popen(self._command, cwd="/", stdin=quiet, stdout=quiet, stderr=quiet, **self._account.popen)

    def _listens_at_last(self) -> bool:
        try:
            return self._listens()
        except Ended:
            self._popen = self._run()
            raise

    def _listens(self) -> bool:
        return listens(self._popen, self.port, self._directory)  # whether the server answers is another question

    def kill(self) -> None:
        """It goes at once, and every connection with it."""
        self._popen.kill()
        self._popen.wait(20)


@contextlib.contextmanager
def open_bouncer(program: str, dsn: str) -> Iterator[Bouncer]:
    """One for the block."""
    directory = Path(tempfile.mkdtemp(prefix="pgjobq-chaos-bouncer-", dir="/tmp"))
    try:
        bouncer = on_free_port(lambda port: Bouncer(program, dsn, port, directory))
        try:
            yield bouncer
        finally:
            bouncer.kill()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
