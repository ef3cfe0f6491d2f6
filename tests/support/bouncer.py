"""A real PgBouncer in transaction mode, in front of one server."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from pgjobq.devdb.account import choose_account
from pgjobq.devdb.address import find_free_port
from support.dsn import as_url
from support.waiting import eventually

T = TypeVar("T")

TRIES = 5
"""Free ports that are tried before it is given up."""
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


class Ended(RuntimeError):
    """It ended by itself before it answered; its log says why."""


@contextlib.contextmanager
def run_bouncer(program: str, dsn: str) -> Iterator[str]:
    """Run it in front of the server of `dsn`; gives the DSN of the same database through it."""
    directory = Path(tempfile.mkdtemp(prefix="pgjobq-bouncer-", dir="/tmp"))
    try:
        with contextlib.ExitStack() as stack:
            yield on_free_port(lambda port: stack.enter_context(_run(program, dsn, port, directory)))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def on_free_port(start: Callable[[int], T]) -> T:
    """Start something on a port that nobody has; on another if somebody took it just before, as any client may."""
    for _ in range(TRIES - 1):
        with contextlib.suppress(Ended):
            return start(find_free_port())
    return start(find_free_port())


@contextlib.contextmanager
def _run(program: str, dsn: str, port: int, directory: Path) -> Iterator[str]:
    account = choose_account()  # it refuses root, too
    server = {key: value for key, value in conninfo_to_dict(dsn).items() if key in ("host", "port", "user", "password")}
    quoted = " ".join(f"{key}='" + str(value).replace("'", "''") + "'" for key, value in server.items())
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
        eventually(lambda: listens(process, port, directory), 20)
        eventually(lambda: _answers(through), 20, ignoring=(psycopg.OperationalError,))
        yield through
    finally:
        process.terminate()
        process.wait(20)


def listens(process: subprocess.Popen[bytes], port: int, directory: Path) -> bool:
    """Whether it has its port. That somebody answers there does not show it: it may be whoever was faster."""
    ended, log = process.poll() is not None, directory / "log"
    said = log.read_text() if log.exists() else "(no log)"
    if ended:
        raise Ended(f"pgbouncer ended by itself:\n{said}")
    return f"listening on 127.0.0.1:{port}" in said


def _answers(through: str) -> bool:
    psycopg.connect(through, connect_timeout=5).close()
    return True
