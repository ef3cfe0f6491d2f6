"""What a failed test left in its database, for its report: a failure seen once on a busy machine should tell enough."""

from __future__ import annotations

import psycopg

__all__ = ["remains"]

LOOKS = {
    "now": "SELECT clock_timestamp()",
    "jobs": "SELECT id, task, queue, state, attempt, run_at, started_at, finished_at, worker, reason, workflow "
    "FROM pgjobq.jobs ORDER BY id DESC LIMIT 30",
    "workers": "SELECT * FROM pgjobq.worker",
    "looks": "SELECT * FROM pgjobq.look LIMIT 20",
    "workflows": "SELECT * FROM pgjobq.workflow LIMIT 10",
    "looks at workflows": "SELECT * FROM pgjobq.workflow_look LIMIT 20",
    "cancel requests": "SELECT * FROM pgjobq.cancel_request LIMIT 20",
    "connections": "SELECT pid, application_name, state, wait_event, clock_timestamp() - state_change AS since, "
    "left(query, 60) AS query FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
}
LONGEST = 6_000


def remains(dsn: str) -> str:
    """A few rows of each table that says where jobs are and why, as text."""
    told = []
    try:
        with psycopg.connect(dsn, autocommit=True, connect_timeout=5) as conn:
            conn.execute("SET statement_timeout = '5s'")
            for name, query in LOOKS.items():
                try:
                    cursor = conn.execute(query)
                except psycopg.Error as error:
                    told.append(f"{name}: {error}")
                    continue
                columns = [column.name for column in cursor.description or ()]
                for row in cursor:
                    seen = {key: str(value) for key, value in zip(columns, row, strict=True) if value is not None}
                    told.append(f"{name}: {seen}")
    except psycopg.Error as error:
        told.append(f"the database cannot be asked: {error}")
    return "\n".join(told)[:LONGEST]
