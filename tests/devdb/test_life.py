"""Start, stop, restart, crash, kill: what a server does and what it leaves behind."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from pgjobq.devdb import Postgres, StartFailed
from pgjobq.devdb.processes import is_alive, list_children, wait_gone
from pgjobq.errors import ConfigError, PgjobqError
from support.dsn import as_url


def write(dsn: str, number: int) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute("CREATE TABLE IF NOT EXISTS kept (number int)")
        conn.execute("INSERT INTO kept VALUES (%s)", [number])


def read(dsn: str) -> list[int]:
    with psycopg.connect(dsn) as conn:
        return [number for (number,) in conn.execute("SELECT number FROM kept ORDER BY 1")]


def test_thrown_away_without_a_trace() -> None:
    with Postgres() as postgres:
        pid, home = postgres.pid, postgres.log.parent
        write(postgres.dsn(), 1)
        assert pid is not None
        assert is_alive(pid)
    assert not is_alive(pid)
    assert not home.exists()
    assert postgres.pid is None
    with pytest.raises(ConfigError, match=r"call start\(\) first"):
        postgres.dsn()


def test_settings_are_the_servers() -> None:
    with Postgres(settings={"max_connections": 37, "work_mem": "5MB", "jit": False}) as postgres:
        with psycopg.connect(postgres.dsn()) as conn:
            names = ("max_connections", "work_mem", "jit", "fsync", "server_encoding")
            shown = [conn.execute(f"SHOW {name}").fetchone() for name in names]
        assert shown == [("37",), ("5MB",), ("off",), ("off",), ("UTF8",)]


def test_setting_that_does_not_exist_is_told_from_the_log() -> None:
    with pytest.raises(StartFailed, match='unrecognized configuration parameter "no_such_thing"'):
        Postgres(settings={"no_such_thing": 1}).start()


@pytest.mark.parametrize("tcp", [False, True])
def test_committed_rows_outlive_crash_kill_and_restart_on_the_same_address(tcp: bool) -> None:
    with Postgres(tcp=tcp) as postgres:
        dsn = postgres.dsn()
        for number, blow in enumerate((postgres.restart, postgres.crash, postgres.kill), start=1):
            write(dsn, number)
            blow()
            if blow != postgres.restart:
                assert postgres.pid is None
                with pytest.raises(psycopg.OperationalError):
                    psycopg.connect(dsn)
                postgres.restart()
            assert postgres.dsn() == dsn
            assert read(dsn) == list(range(1, number + 1))


def test_kill_waits_for_orphans() -> None:
    with Postgres() as postgres, psycopg.connect(postgres.dsn()) as conn:
        backend = conn.info.backend_pid
        assert postgres.pid is not None
        assert backend in list_children(postgres.pid)
        postgres.kill()
        assert wait_gone([backend], timeout=0) == []
        with pytest.raises(psycopg.OperationalError):
            conn.execute("SELECT 1")


@pytest.mark.skipif(not Path("/proc/sysvipc/shm").exists(), reason="only Linux lists shared memory as a file")
def test_stop_after_kill_leaves_no_shared_memory() -> None:
    with Postgres() as postgres:
        segment = (postgres.log.parent / "data" / "postmaster.pid").read_text().splitlines()[6].split()[1]
        assert segment in list_segments()
        postgres.kill()
    assert segment not in list_segments()


def list_segments() -> list[str]:
    return [line.split()[1] for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]]


def test_several_at_once_do_not_collide() -> None:
    def start(tcp: bool) -> tuple[str, str]:
        with Postgres(tcp=tcp) as postgres:
            write(postgres.dsn(), 1)
            assert read(postgres.dsn()) == [1]
            return postgres.dsn(), str(postgres.log)

    with ThreadPoolExecutor(4) as pool:
        seen = list(pool.map(start, [True, False, True, False]))
    assert len({dsn for dsn, _ in seen}) == len({log for _, log in seen}) == 4


def test_fork_does_not_stop_its_parents_server() -> None:
    program = (
        "import os, sys\n"
        "from pgjobq.devdb import Postgres\n"
        "with Postgres() as postgres:\n"
        "    if os.fork() == 0:\n"
        "        sys.exit(0)\n"
        "    os.wait()\n"
        "    print(postgres.pid is not None)\n"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (shown.stdout, shown.returncode) == ("True\n", 0), shown.stderr


def test_tcp_needs_the_password() -> None:
    with Postgres(tcp=True) as postgres:
        assert "@127.0.0.1:" in postgres.dsn()
        with psycopg.connect(postgres.dsn()) as conn:
            assert conn.execute("SHOW listen_addresses").fetchone() == ("127.0.0.1",)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(as_url(postgres.dsn(), password="guessed"))


def test_dsn_quotes_the_database() -> None:
    with Postgres() as postgres:
        with psycopg.connect(postgres.dsn(), autocommit=True) as conn:
            conn.execute('CREATE DATABASE "odd name/with?signs&"')
        with psycopg.connect(postgres.dsn("odd name/with?signs&")) as conn:
            assert conn.execute("SELECT current_database()").fetchone() == ("odd name/with?signs&",)


def test_deeds_before_start_say_what_to_do() -> None:
    postgres = Postgres()
    for deed in (postgres.crash, postgres.kill, postgres.restart):
        with pytest.raises(PgjobqError, match=r"call start\(\) first"):
            deed()
    postgres.stop()
    assert postgres.pid is None


def test_environment_of_libpq_does_not_reach_the_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PGDATA", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("PGPORT", "1")
    with Postgres() as postgres:
        home = postgres.log.parent
        assert (home / ".s.PGSQL.5432").exists()
        assert list(tmp_path.iterdir()) == []
