"""A real PgBouncer in transaction mode, in front of one server."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from pgjobq.devdb.account import choose_account
from pgjobq.devdb.address import find_free_port
from support.dsn import as_url
from support.waiting import eventually

INSTALL = (
    "PgBouncer is not installed, and this test needs a real one: install the package `pgbouncer` (Debian: "
    "apt-get install pgbouncer; Homebrew: brew install pgbouncer)"
)

CONFIGURATION = """\
[databases]
* = {server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 4
max_client_conn = 200
server_reset_query =
ignore_startup_parameters = extra_float_digits
logfile = {directory}/log
pidfile =
"""


def find_pgbouncer() -> str | None:
    """What PGJOBQ_TEST_PGBOUNCER names, else pgbouncer on PATH, else where Debian puts it."""
    if named := os.environ.get("PGJOBQ_TEST_PGBOUNCER"):
        return shutil.which(named)
    return shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")


def needed_pgbouncer() -> str:
    """The program. Without it: on a person's machine the test is skipped, and the header and the summary say so; where
    CI is set, it fails, so that somebody always runs it."""
    program = find_pgbouncer()
    if program is not None:
        return program
    if os.environ.get("CI"):
        pytest.fail(INSTALL, pytrace=False)
    pytest.skip(INSTALL)


@contextlib.contextmanager
def run_bouncer(program: str, dsn: str) -> Iterator[str]:
    """Run it in front of the server of `dsn`; gives the DSN of the same database through it."""
    account = choose_account()  # it refuses root, too
    directory = Path(tempfile.mkdtemp(prefix="pgjobq-bouncer-", dir="/tmp"))
    try:
        server = {
            key: value for key, value in conninfo_to_dict(dsn).items() if key in ("host", "port", "user", "password")
        }
        quoted = " ".join(f"{key}='" + str(value).replace("'", "''") + "'" for key, value in server.items())
        port = find_free_port()
        configuration = directory / "pgbouncer.ini"
        configuration.write_text(CONFIGURATION.format(server=quoted, port=port, directory=directory))
        account.own(configuration)
        account.own(directory)
        process = subprocess.Popen(
            [program, "-q", configuration],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **account.popen,
        )
        through = as_url(dsn, host="127.0.0.1", port=port, password=None)
        try:
            eventually(lambda: _answers(process, through, directory), 20, ignoring=(psycopg.OperationalError,))
            yield through
        finally:
            process.terminate()
            process.wait(20)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _answers(process: subprocess.Popen[bytes], through: str, directory: Path) -> bool:
    if process.poll() is not None:
        log = directory / "log"
        raise RuntimeError(f"pgbouncer ended by itself:\n{log.read_text() if log.exists() else '(no log)'}")
    psycopg.connect(through, connect_timeout=5).close()
    return True
