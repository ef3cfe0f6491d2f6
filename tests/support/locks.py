"""Who waits for whom. The server is shared with the tests that run beside this one: only its own database counts."""

from __future__ import annotations

import psycopg

__all__ = ["lock_waiters"]


def lock_waiters(dsn: str, kind: str = "%") -> int:
    """How many sessions of this database wait for a lock; `kind`: its wait_event, such as `advisory` or `relation`."""
    sql = """SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event_type = 'Lock' AND wait_event LIKE %s"""
    with psycopg.connect(dsn, autocommit=True) as conn:
        row = conn.execute(sql, (kind,)).fetchone()
    assert row is not None
    return int(row[0])
