"""`pgjobq migrate`: what it does, what it says, and its exit codes."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pgjobq import cli, migrate

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `pgjobq migrate …` here; returns exit code, stdout, stderr."""
    for name in (
        "PGJOBQ_DSN",
        "DATABASE_URL",
        "PGHOST",
        "PGSERVICE",
        "PGDATABASE",
        "PGSERVICEFILE",
        "PGJOBQ_SCHEMA",
    ):
        monkeypatch.delenv(name, raising=False)

    def run(*argv: str) -> tuple[int, str, str]:
        code = cli.main(["migrate", *argv])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def newest() -> int:
    with_steps = migrate._steps(migrate._HERE)
    return with_steps[-1].version


def test_install_check_install(run: Run, empty_dsn: str) -> None:
    code, out, _ = run("--dsn", empty_dsn, "--check")
    assert (code, out.endswith("is not installed; run pgjobq migrate\n")) == (1, True)
    code, out, _ = run("--dsn", empty_dsn)
    assert (code, out.endswith(f"is installed, at version {newest()}\n")) == (0, True)
    assert out.startswith("schema pgjobq in database pgjobq_test_")
    code, out, _ = run("--dsn", empty_dsn, "--check")
    assert (code, out.endswith(f"is current, at version {newest()}\n")) == (0, True)
    code, out, err = run("--dsn", empty_dsn)
    assert (code, err) == (0, "")
    assert out.endswith(f"is current already, at version {newest()}\n")


def test_dsn_and_schema_from_the_environment(run: Run, empty_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGJOBQ_DSN", empty_dsn)
    monkeypatch.setenv("PGJOBQ_SCHEMA", "shop_jobs")
    assert run()[0] == 0
    assert run("--check")[:1] == (0,)
    assert run("--check", "--schema", "other")[0] == 1
    with psycopg.connect(empty_dsn) as conn:
        assert migrate.check(conn, "shop_jobs").is_current
        assert migrate.status(conn, "pgjobq").current == 0


def test_older_and_newer(run: Run, dsn: str, monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute("INSERT INTO pgjobq.migration (version, name, library) VALUES (900, 'later', '9.1')")
    code, out, _ = run("--dsn", dsn, "--check")
    assert code == 1
    assert f"at version 900, newer than the {newest()} that this pgjobq knows; upgrade" in out
    code, out, err = run("--dsn", dsn)
    assert (code, out) == (2, "")
    assert "migrated by pgjobq 9.1" in err


def test_cannot_tell(run: Run, empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn) as conn:
        conn.execute("CREATE SCHEMA mine; CREATE TABLE mine.job (a int)")
    code, out, err = run("--dsn", empty_dsn, "--schema", "mine", "--check")
    assert (code, out) == (2, "")
    assert "did not make (job)" in err
    code, _, err = run("--dsn", make_conninfo(empty_dsn, dbname="no_such_database"), "--check")
    assert code == 2
    assert "no_such_database" in err


def test_the_printed_sql_is_what_runs(run: Run, empty_dsn: str) -> None:
    code, sql, err = run("--dsn", empty_dsn, "--sql")
    assert (code, err) == (0, "")
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        assert migrate.status(conn).current == 0
        conn.execute(sql.encode())
        assert migrate.check(conn).is_current
    code, sql, _ = run("--dsn", empty_dsn, "--sql")
    assert code == 0
    assert [line for line in sql.splitlines() if not line.startswith("--")] == []


def test_the_sql_for_a_database_that_is_not_there_yet(run: Run) -> None:
    code, sql, _ = run("--sql", "--schema", "shop_jobs")
    assert code == 0
    assert sql.startswith("-- For a new database")
    assert 'CREATE TABLE "shop_jobs".migration' in sql
    assert sql.rstrip().endswith("COMMIT;")


def test_a_connection_that_the_server_ends_is_one_line(run: Run, dsn: str) -> None:
    """Something else than a failed connection: the database says no to a statement."""
    with psycopg.connect(dsn) as conn:
        conn.execute("DELETE FROM pgjobq.migration")
        conn.execute("LOCK TABLE pgjobq.migration")
        code, out, err = run("--dsn", make_conninfo(dsn, options="-c statement_timeout=200"), "--check")
    assert (code, out) == (2, "")
    assert err.startswith("pgjobq: the database refused (57014): ")
    assert err.count("\n") == 1
