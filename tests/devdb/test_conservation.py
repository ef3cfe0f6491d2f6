"""The check that stands behind every test: it must not be able to pass when the law is broken."""

from __future__ import annotations

import psycopg
import pytest

from pgjobq.migrate import install
from support.conservation import LawBroken, check_conservation


def enqueue(conn: psycopg.Connection) -> int:
    row = conn.execute("SELECT pgjobq.enqueue('task')").fetchone()
    assert row is not None
    return int(row[0])


def test_lawful_jobs_pass_and_the_schema_was_asked(dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        for _ in range(3):
            enqueue(conn)
        conn.execute("SELECT pgjobq.enqueue('task', delay => '1 hour')")
    assert check_conservation(dsn) == 1


@pytest.mark.lawless("a job is taken out of every table of state")
def test_job_that_stands_nowhere(dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        job = enqueue(conn)
        conn.execute("DELETE FROM pgjobq.ready WHERE job = %s", [job])
    with pytest.raises(LawBroken, match=rf"broken in schema 'pgjobq'; misplaced:\n +\({job}, "):
        check_conservation(dsn)


@pytest.mark.lawless("a job is put into a second table of state")
def test_job_that_stands_twice(dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        job = enqueue(conn)
        conn.execute(
            "INSERT INTO pgjobq.finished (job, finished_at, attempt, outcome) VALUES (%s, now(), 1, 's')",
            [job],
        )
    with pytest.raises(LawBroken, match=rf"\({job}, "):
        check_conservation(dsn)


@pytest.mark.lawless("the view is dropped")
def test_nothing_to_look_at_is_no_pass(dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute("DROP VIEW pgjobq.misplaced")
    with pytest.raises(LawBroken, match="cannot be checked"):
        check_conservation(dsn)


@pytest.mark.lawless("a job is lost in the second schema")
def test_every_schema_is_asked(empty_dsn: str) -> None:
    assert check_conservation(empty_dsn, schema_expected=False) == 0
    with psycopg.connect(empty_dsn) as conn:
        install(conn, "one")
        install(conn, "other")
    assert check_conservation(empty_dsn) == 2
    with psycopg.connect(empty_dsn) as conn:
        conn.execute("SELECT other.enqueue('task')")
        conn.execute("DELETE FROM other.ready")
    with pytest.raises(LawBroken, match="in schema 'other'"):
        check_conservation(empty_dsn)


@pytest.mark.lawless("a table stays locked until after the check")
def test_lock_left_behind_fails_and_does_not_hang(dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute("LOCK TABLE pgjobq.ready IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            check_conservation(dsn, patience=0.2)
