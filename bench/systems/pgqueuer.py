"""PgQueuer."""

from __future__ import annotations

from bench.systems.base import System
from bench.systems.environments import Python

SYSTEM = System(
    name="pgqueuer",
    version="1.6.0",
    settings="AsyncpgDriver, uvloop, enqueue by lists of 5,000, batch_size 500",
    environment=Python("pgqueuer", ("pgqueuer[asyncpg]==1.6.0", "uvloop")),
    driver="on_pgqueuer.py",
    unfinished="SELECT EXISTS (SELECT FROM pgqueuer)",
    ended="SELECT extract(epoch FROM max(created))::float8 FROM pgqueuer_log WHERE status = 'successful'",
    gate="pgqueuer",
    pace=20_000,
    bulk_pace=60_000,
    options={"batch": 500},
    has_sync=True,
)
