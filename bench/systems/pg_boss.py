"""pg-boss with batches."""

from __future__ import annotations

from bench.systems.base import System
from bench.systems.environments import Node

SYSTEM = System(
    name="pg-boss",
    version="12.38.0",
    settings="batchSize 500, burstWhenBatchFull, LISTEN/NOTIFY, insert() in 5,000s",
    environment=Node("pg-boss", ("pg-boss@12.38.0", "pg", "node@22"), own_node=True),
    driver="on_pg_boss.mjs",
    unfinished="SELECT EXISTS (SELECT FROM pgboss.job WHERE name = 'confirm' AND state < 'completed')",
    ended="SELECT extract(epoch FROM max(completed_on))::float8 FROM pgboss.job WHERE name = 'confirm'",
    gate="pgboss.job",
    pace=25_000,
    bulk_pace=50_000,
)
