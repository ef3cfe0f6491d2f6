"""The demo and the shop for people, from the outside: as a user starts and stops them."""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest
from examples.ecommerce.ports import bind
from psycopg.conninfo import make_conninfo

from e2e.conftest import ROOT
from support.waiting import eventually


@contextmanager
def started(log: Path, module: str, *arguments: str, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m examples.ecommerce.…`, its output in a file; stopped in an orderly way if the test has not."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [sys.executable, "-m", f"examples.ecommerce.{module}", *arguments],
            env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8", **environ},
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)


def databases(server: str) -> list[str]:
    """What the role in this DSN has left on the server."""
    with psycopg.connect(server, dbname="postgres") as conn:
        owned = "SELECT datname FROM pg_database WHERE pg_get_userbyid(datdba) = current_user"
        return [name for (name,) in conn.execute(owned)]


def children(folder: Path) -> list[str]:
    """Processes whose output goes to this demo's folder: all that it has started."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder) in str((process / "fd/1").readlink()):
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


@contextmanager
def new_role(server: str, rights: str) -> Iterator[str]:
    """The server's DSN for a role made for one test: no superuser, and what it leaves behind is known by its owner."""
    role = f"shopkeeper_{secrets.token_hex(4)}"
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(f"CREATE ROLE {role} LOGIN {rights} PASSWORD 'key'")
        try:
            yield make_conninfo(server, user=role, password="key")
        finally:
            conn.execute(f"DROP ROLE {role}")


@pytest.fixture
def server(pg_server: str) -> Iterator[str]:
    """The session's server, for a role that may do no more than create databases."""
    with new_role(pg_server, "CREATEDB") as dsn:
        yield dsn


@pytest.mark.timeout(300)
def test_the_demo_keeps_every_promise(server: str, tmp_path: Path) -> None:
    log = tmp_path / "output"
    with started(log, "demo", "--orders", "40", PGJOBQ_DSN=server, TMPDIR=str(tmp_path)) as demo:
        assert demo.wait(240) == 0, log.read_text()
    output = log.read_text()
    assert "Every promise was kept." in output
    assert "40 orders" in output
    assert "120 jobs" in output
    assert "40 entries" in output
    assert re.search(r"worker 2 is killed \(SIGKILL\) with [1-9]\d* jobs in hand", output)
    assert re.search(r"the lease is up: [1-9]\d* of its jobs are taken over", output)
    assert re.search(r"p50 [\d.]+ m?s, p99 [\d.]+ m?s", output)
    assert "✗" not in output
    assert "\x1b" not in output, "no colours or movements where there is no terminal"
    assert max(len(line) for line in output.splitlines()) <= 80
    assert children(tmp_path) == []
    assert databases(server) == []
    assert list(tmp_path.iterdir()) == [log]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_stopped_leaves_nothing(server: str, tmp_path: Path, signum: signal.Signals) -> None:
    log = tmp_path / "output"
    with started(log, "demo", PGJOBQ_DSN=server, TMPDIR=str(tmp_path)) as demo:
        eventually(lambda: "customers come" in log.read_text(), timeout=60)
        assert len(children(tmp_path)) >= 5
        demo.send_signal(signum)
        assert demo.wait(40) == 128 + signum, log.read_text()
    assert "Traceback" not in log.read_text()
    assert children(tmp_path) == []
    assert databases(server) == []
    assert list(tmp_path.iterdir()) == [log]


def test_the_shop_opens_and_closes(server: str, tmp_path: Path) -> None:
    log = tmp_path / "output"
    with bind(18000) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with started(log, "serve", "--port", str(port), PGJOBQ_DSN=server, TMPDIR=str(tmp_path)) as shop:
            addresses = eventually(
                lambda: dict(re.findall(r"(shop|merchants) +(http://\S+)", log.read_text())), timeout=60
            )
            assert not addresses["shop"].endswith(f":{port}"), "that port is taken"
            assert "Small things for a warm house" in httpx.get(addresses["shop"]).text
            assert "Kiln Yard" in httpx.get(addresses["merchants"]).text
            shop.send_signal(signal.SIGINT)
            assert shop.wait(40) == 0, log.read_text()
    assert "The shop is closed" in log.read_text()
    assert children(tmp_path) == []


@pytest.mark.parametrize(
    ("module", "arguments", "dsn", "words"),
    [
        ("demo", ["--orders", "5"], "", "--orders 5: wants a number from 10 to 2000"),
        ("demo", [], "host=127.0.0.1 port=1", "the server that PGJOBQ_DSN names cannot be reached"),
        ("serve", ["--port", "70000"], "", "--port 70000: wants a number from 0 to 65535"),
    ],
)
def test_what_cannot_start_says_why(tmp_path: Path, module: str, arguments: list[str], dsn: str, words: str) -> None:
    log = tmp_path / "output"
    with started(log, module, *arguments, PGJOBQ_DSN=dsn) as process:
        assert process.wait(60) == 2
    assert words in log.read_text()
    assert "Traceback" not in log.read_text()


def test_a_role_that_may_not_create_databases_is_told(pg_server: str, tmp_path: Path) -> None:
    log = tmp_path / "output"
    with new_role(pg_server, "NOCREATEDB") as dsn, started(log, "demo", PGJOBQ_DSN=dsn) as process:
        assert process.wait(60) == 2
    assert "may not create databases" in log.read_text()
