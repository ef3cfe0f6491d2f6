"""A shop's afternoon in a queue: jobs in every state, an hour of history, and workers. For tests and for the pictures
in docs/ (`python tests/web/scene.py DSN` writes it into a database that has the schema)."""

from __future__ import annotations

import sys
from pathlib import Path

import psycopg

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


if __name__ == "__main__":
    print(furnish(sys.argv[1]))
