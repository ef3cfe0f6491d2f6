"""The server dies with its owner, however the owner dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from pgjobq.devdb.account import Account
from pgjobq.devdb.processes import is_alive, list_children, wait_gone
from pgjobq.devdb.watchdog import Watchdog
from support.owners import environment, own
from support.waiting import eventually

pytestmark = pytest.mark.skipif(os.name == "nt", reason="there is no watchdog on Windows")


def wait_removed(path: Path) -> None:
    eventually(lambda: not path.exists())


def test_killed_owner_leaves_no_server_and_no_directory() -> None:
    with own() as owner:
        backends = list_children(owner.pid)
        assert backends
        owner.process.kill()
        assert wait_gone([owner.pid, *backends], 30) == []
        wait_removed(owner.home)


def test_killed_owner_with_a_fork_that_lives_on() -> None:
    fork = "child = os.fork()\nif child == 0:\n    sys.stdin.close(); import time; time.sleep(60); os._exit(0)"
    with own(extra=fork + "\nprint(child, flush=True, file=sys.stderr)", stderr=subprocess.PIPE) as owner:
        assert owner.process.stderr is not None
        child = int(owner.process.stderr.readline())
        try:
            owner.process.kill()
            assert wait_gone([owner.pid], 30) == []
            wait_removed(owner.home)
            assert is_alive(child)
        finally:
            os.kill(child, signal.SIGKILL)


def test_owner_killed_while_the_cluster_is_made(kept_root: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", "from pgjobq.devdb import Postgres; Postgres().start(); input()"],
        stdin=subprocess.PIPE,
        env=environment(TMPDIR=str(kept_root)),
    )
    with process:
        eventually(lambda: list(kept_root.glob("pgjobq-*/unfinished-*/*")))
        process.kill()
    eventually(lambda: not list(kept_root.iterdir()))


def test_owner_that_forgets_to_stop() -> None:
    program = "from pgjobq.devdb import Postgres\np = Postgres().start()\nprint(p.pid, p.log.parent)"
    shown = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
        check=True,
    )
    pid, home = shown.stdout.split()
    assert wait_gone([int(pid)], 30) == []
    wait_removed(Path(home))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_command_prints_an_export_line_and_runs_until_told(number: signal.Signals, kept_root: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "pgjobq.devdb", str(kept_root / "a b")],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
        start_new_session=True,
    ) as command:
        assert command.stdout is not None
        export, hint = command.stdout.readline(), command.stdout.readline()
        assert export.startswith("export PGJOBQ_DSN=")
        assert hint == "# Ctrl-C stops it\n"
        told = subprocess.run(["sh", "-c", f'{export}echo "$PGJOBQ_DSN"'], capture_output=True, text=True, check=True)
        with psycopg.connect(told.stdout.strip()) as conn:
            assert conn.execute("SELECT 1").fetchone() == (1,)
        command.send_signal(number)
        assert command.wait(60) == 0
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(told.stdout.strip())


def test_command_ends_when_the_server_does() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "pgjobq.devdb"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as command:
        assert command.stdout is not None
        dsn = command.stdout.readline().partition("=")[2].strip().strip("'")
        with psycopg.connect(dsn) as conn:
            postmaster = conn.execute("SELECT pg_read_file('postmaster.pid')").fetchone()
        assert postmaster is not None
        os.kill(int(postmaster[0].split()[0]), signal.SIGINT)
        _, complaint = command.communicate(timeout=60)
    assert command.returncode == 1
    assert "the server ended by itself" in complaint


def test_command_without_binaries_says_what_to_do() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "pgjobq.devdb"],
        capture_output=True,
        text=True,
        env=environment(PGJOBQ_PG_BINDIR="/nowhere"),
        timeout=60,
    )
    assert told.returncode == 2
    assert told.stderr.startswith("pgjobq: PGJOBQ_PG_BINDIR='/nowhere' holds no initdb and postgres")
    assert "Traceback" not in told.stderr


def test_command_refuses_a_setting_without_value() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "pgjobq.devdb", "--set", "work_mem"],
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert told.returncode == 2
    assert "write it as NAME=VALUE" in told.stderr


def test_process_that_ended_is_out_of_the_watchdogs_reach(kept_root: Path) -> None:
    """Its number may be given to another: what the watchdog was told to forget it must not signal."""
    for forgotten in (False, True):
        rubbish = kept_root / "rubbish"
        rubbish.mkdir()
        watchdog = Watchdog("INT", rubbish)
        with (kept_root / "log").open("wb") as log:
            process = watchdog.spawn(["sleep", "60"], Account(), kept_root, environment(), log)
        try:
            if forgotten:
                watchdog.forget()
            watchdog.abandon()  # what our death would do
            wait_removed(rubbish)  # the last thing it does
            assert is_alive(process.pid) == forgotten
        finally:
            process.kill()
            process.wait()
            watchdog.release()
