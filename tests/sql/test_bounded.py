"""The watchdog over the keeper's statements: one thread for all bounds, and the earliest is kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import psycopg
import pytest

from pgjobq.engine.wire import bounded
from support.waiting import eventually


@pytest.fixture
def conn(dsn: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


def _is_cut(connection: psycopg.Connection, seconds: float) -> bool:
    begun = time.monotonic()
    try:
        with bounded(lambda: connection, seconds):
            connection.execute("SELECT pg_sleep(30)")
    except psycopg.OperationalError:
        assert seconds <= time.monotonic() - begun < 25
        return True
    return False


def _watchdogs() -> set[int | None]:
    return {thread.ident for thread in threading.enumerate() if thread.name == "pgjobq-watchdog"}


def test_what_takes_too_long_is_cut(conn: psycopg.Connection) -> None:
    assert _is_cut(conn, 0.3)


def test_a_short_bound_is_kept_while_the_thread_sleeps_to_a_long_one(dsn: str, conn: psycopg.Connection) -> None:
    with psycopg.connect(dsn) as patient, bounded(lambda: patient, 30.0):
        time.sleep(0.1)  # it sleeps
        assert _is_cut(conn, 0.3)
        assert patient.execute("SELECT 1").fetchone() == (1,)


def test_many_bounds_that_are_met_cut_nothing_and_start_no_thread_each(conn: psycopg.Connection) -> None:
    seen: set[int | None] = set()
    for _ in range(50):
        with bounded(lambda: conn, 5.0):
            conn.execute("SELECT 1")
            seen |= _watchdogs()
    assert len(seen) <= 3  # one, and another each time it had nothing left to watch
    eventually(lambda: not _watchdogs())  # the last bound is over then, and would have been enforced
    assert conn.execute("SELECT 1").fetchone() == (1,)
    assert _is_cut(conn, 0.3), "it had ended, and is started anew"


def test_a_bound_without_a_connection_or_with_a_closed_one_does_no_harm(dsn: str, conn: psycopg.Connection) -> None:
    closed = psycopg.connect(dsn)
    closed.close()
    with bounded(lambda: None, 0.05), bounded(lambda: closed, 0.05):
        time.sleep(0.2)
    assert _is_cut(conn, 0.3)
