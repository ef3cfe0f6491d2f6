"""What a whole pytest session does with these fixtures, seen from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psycopg
import pytest

from support.dsn import as_url
from support.owners import environment

TESTS = Path(__file__).parents[1]

USES_DATABASE = """
import psycopg

def test_works(dsn):
    with psycopg.connect(dsn) as conn:
        conn.execute("SELECT pgjobq.enqueue('task')")
"""

BREAKS_THE_LAW = """
import psycopg, pytest

def test_breaks(dsn):
    with psycopg.connect(dsn) as conn:
        conn.execute("SELECT pgjobq.enqueue('task')")
        conn.execute("DELETE FROM pgjobq.ready")

def test_breaks_elsewhere(empty_dsn):
    from pgjobq.migrate import install
    with psycopg.connect(empty_dsn) as conn:
        install(conn, "mine")
        conn.execute("SELECT mine.enqueue('task')")
        conn.execute("DELETE FROM mine.ready")

@pytest.mark.lawless("on purpose")
def test_breaks_on_purpose(dsn):
    test_breaks(dsn)
"""


def run_session(directory: Path, text: str, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run pytest on one file of tests under the same conftest."""
    (directory / "conftest.py").write_text((TESTS / "conftest.py").read_text())
    (directory / "test_it.py").write_text(text)
    (directory / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\nfilterwarnings = error\n")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PGJOBQ_", "PYTEST_", "DOCKER_"))}
    path = f"{TESTS}{os.pathsep}{environment()['PYTHONPATH']}"
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments, "test_it.py"],
        cwd=directory,
        env={**inherited, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", **changes},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_broken_law_fails_the_test(pg_server: str, tmp_path: Path) -> None:
    ran = run_session(tmp_path, BREAKS_THE_LAW, PGJOBQ_TEST_DSN=pg_server)
    assert ran.returncode == 1, ran.stdout
    assert "ERROR at teardown of test_breaks " in ran.stdout
    assert "ERROR at teardown of test_breaks_elsewhere " in ran.stdout
    assert "3 passed, 2 errors" in ran.stdout  # the one that says so is let off
    assert ran.stdout.count("LawBroken: the conservation law is broken in schema") >= 2


def test_databases_are_dropped_whatever_happened(pg_server: str, tmp_path: Path) -> None:
    def list_databases() -> set[str]:
        with psycopg.connect(pg_server) as conn:
            return {name for (name,) in conn.execute("SELECT datname FROM pg_database WHERE datname ~ '^inner_'")}

    ran = run_session(tmp_path, BREAKS_THE_LAW, PGJOBQ_TEST_DSN=pg_server, PGJOBQ_TEST_PREFIX="inner_")
    assert ran.returncode == 1, ran.stdout
    assert list_databases() == set()


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_no_database_ends_the_session_with_what_to_do(workers: tuple[str, ...], tmp_path: Path) -> None:
    ran = run_session(
        tmp_path,
        USES_DATABASE,
        *workers,
        PGJOBQ_TEST_DB="embedded",
        PGJOBQ_PG_BINDIR=str(tmp_path / "nothing"),
    )
    assert ran.returncode == 3
    assert "no database to test on" in ran.stdout + ran.stderr
    assert "holds no initdb and postgres: set it to the bin directory" in ran.stdout + ran.stderr
    assert "passed" not in ran.stdout
    assert "skipped" not in ran.stdout


def test_pure_tests_need_no_database(tmp_path: Path) -> None:
    ran = run_session(tmp_path, "def test_pure(): pass", PGJOBQ_TEST_DB="embedded", PGJOBQ_PG_BINDIR="/nothing")
    assert (ran.returncode, "1 passed" in ran.stdout) == (0, True), ran.stdout


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (
            {"PGJOBQ_TEST_DB": "oracle"},
            "PGJOBQ_TEST_DB='oracle': set it to one of auto, dsn, docker, embedded",
        ),
        ({"PGJOBQ_TEST_DB": "dsn"}, "PGJOBQ_TEST_DB=dsn needs PGJOBQ_TEST_DSN"),
        ({"PGJOBQ_TEST_DB": "docker", "DOCKER_HOST": "unix:///nothing.sock"}, "start Docker, or unset it"),
        ({"PGJOBQ_TEST_DSN": "host=127.0.0.1 port=1"}, "PGJOBQ_TEST_DSN does not answer"),
    ],
)
def test_choice_that_cannot_be_had_is_an_error(changes: dict[str, str], complaint: str, tmp_path: Path) -> None:
    ran = run_session(tmp_path, USES_DATABASE, **changes)
    assert ran.returncode == 3
    assert complaint in ran.stdout + ran.stderr


@contextmanager
def run_broken_docker() -> Iterator[str]:
    """A daemon that answers the ping and nothing else; gives its DOCKER_HOST."""

    class Daemon(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/_ping" else 500)
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Daemon) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"tcp://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_docker_that_cannot_run_the_image_gives_way_and_that_is_said(tmp_path: Path) -> None:
    with run_broken_docker() as host:
        ran = run_session(tmp_path, USES_DATABASE, DOCKER_HOST=host)
        assert "pgjobq database: Docker, postgres:18-alpine" in ran.stdout
        assert "(Docker did not run postgres:18-alpine: " in ran.stdout
        assert (ran.returncode, "1 passed" in ran.stdout) == (0, True), ran.stdout + ran.stderr
        forced = run_session(tmp_path, USES_DATABASE, DOCKER_HOST=host, PGJOBQ_TEST_DB="docker")
        assert forced.returncode == 3
        assert "PGJOBQ_TEST_DB=docker, but Docker did not run" in forced.stdout + forced.stderr


def test_header_names_the_database_without_its_password(pg_server: str, tmp_path: Path) -> None:
    ran = run_session(tmp_path, USES_DATABASE, PGJOBQ_TEST_DSN=as_url(pg_server, password="geheim"))
    assert "pgjobq database: PGJOBQ_TEST_DSN, postgresql://" in ran.stdout
    assert "geheim" not in ran.stdout.partition("rootdir:")[0]


def test_workers_of_xdist_share_one_server_which_ends_with_them(tmp_path: Path) -> None:
    text = (
        USES_DATABASE
        + """
import os, pytest

@pytest.mark.parametrize("number", range(6))
def test_where(pg_server, number):
    with open("servers", "a") as file:
        file.write(pg_server + " " + os.environ["PYTEST_XDIST_WORKER"] + "\\n")
"""
    )
    ran = run_session(tmp_path, text, "-n", "2", PGJOBQ_TEST_DB="embedded")
    assert ran.returncode == 0, ran.stdout
    lines = [line.split() for line in (tmp_path / "servers").read_text().splitlines()]
    assert len({server for server, _ in lines}) == 1
    assert {worker for _, worker in lines} == {"gw0", "gw1"}
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(lines[0][0])


def test_bouncer_that_is_not_installed_fails_with_what_to_install(pg_server: str, tmp_path: Path) -> None:
    text = "def test_through(bouncer_dsn): pass\n"
    missing = {"PGJOBQ_TEST_DSN": pg_server, "PGJOBQ_TEST_PGBOUNCER": str(tmp_path / "nothing"), "CI": "true"}
    ran = run_session(tmp_path, text, **missing)
    assert ran.returncode == 1, ran.stdout
    assert "apt-get install pgbouncer" in ran.stdout
    ran = run_session(tmp_path, text, "-rs", **(missing | {"CI": ""}))
    assert ran.returncode == 0
    assert "1 skipped" in ran.stdout
    assert "its tests are skipped" in ran.stdout


def test_bouncer_pools_by_transaction(bouncer_dsn: str, dsn: str) -> None:
    with psycopg.connect(dsn) as direct:
        database = direct.execute("SELECT current_database()").fetchone()
    clients = [psycopg.connect(bouncer_dsn, autocommit=True, prepare_threshold=None) for _ in range(8)]
    try:
        backends = set()
        for client in clients:
            assert client.execute("SELECT current_database()").fetchone() == database
            backends.add(client.execute("SELECT pg_backend_pid()").fetchone())
        assert len(backends) <= 4  # eight clients, and no more connections to the server than the pool allows
    finally:
        for client in clients:
            client.close()
