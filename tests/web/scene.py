"""A shop's afternoon in a queue: jobs in every state, an hour of history, and workers. For tests and for the pictures
in docs/ (`python tests/web/scene.py DSN` writes it into a database that has the schema)."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import psycopg

from pgjobq import Queue

TRACEBACK = """\
Traceback (most recent call last):
  File "shop/tasks/confirmation.py", line 41, in send_confirmation
    with smtplib.SMTP(host, port, timeout=10) as mail:
  File "smtplib.py", line 255, in __init__
    (code, msg) = self.connect(host, port)
ConnectionRefusedError: [Errno 111] Connection refused
"""


def furnish(dsn: str) -> int:
    """Write the afternoon; gives the id of the failed letter of order:1339."""
    with psycopg.connect(dsn) as conn:
        conn.execute("SELECT setseed(0.5), set_config('scene.traceback', %s, true)", [TRACEBACK])
        conn.execute(Path(__file__).with_suffix(".sql").read_bytes())
        found = conn.execute(
            "SELECT id FROM pgjobq.jobs WHERE ref = 'order:1339' AND task = 'send_confirmation'"
        ).fetchone()
        assert found
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("ANALYZE")
    return int(found[0])


def furnish_operators(queue: Queue) -> None:
    """Schedules, pauses, and what people did that afternoon."""

    @queue.task(queue="reports")
    def build_report(month: str = "") -> None: ...

    @queue.task
    def send_reminders() -> None: ...

    queue.schedule("monthly-report", "0 6 1 * *", build_report, tz="Europe/Paris", by="deployment")
    queue.schedule("reminders", "*/20 9-17 * * mon-fri", send_reminders, tz="Europe/Paris", by="deployment")
    queue.pause_schedule("reminders", "the shop is closed for stocktaking", by="ada@example.com")
    queue.pause(
        queue="merchants", reason="kiln's server is moving", until=timedelta(minutes=45), by="grace@example.com"
    )
    queue.retry_all(state="failed", error="vat_code", by="grace@example.com")
    queue.limit("mail", waiting=10_000, by="deployment")
    queue.set_ageing("reports", step=timedelta(minutes=10), up_to=-5, by="deployment")


if __name__ == "__main__":
    print(furnish(sys.argv[1]))
    with_operators = Queue(sys.argv[1])
    furnish_operators(with_operators)
    with_operators.close()
