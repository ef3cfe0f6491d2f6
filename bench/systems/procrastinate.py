"""procrastinate."""

from __future__ import annotations

from bench.systems.base import System
from bench.systems.environments import Python

SYSTEM = System(
    name="procrastinate",
    version="3.10.0",
    settings="PsycopgConnector (pool), defer_async, batch_defer_async in thousands, LISTEN/NOTIFY, --concurrency",
    environment=Python("procrastinate", ("procrastinate==3.10.0", "psycopg[binary]", "uvloop")),
    driver="on_procrastinate.py",
    unfinished="SELECT EXISTS (SELECT FROM procrastinate_jobs WHERE status IN ('todo', 'doing'))",
    ended="SELECT extract(epoch FROM max(at))::float8 FROM procrastinate_events WHERE type = 'succeeded'",
    gate="procrastinate_jobs",
    pace=600,
    bulk_pace=18_000,
    has_sync=True,
)
