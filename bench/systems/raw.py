"""The floor: what thin psycopg code does with one table."""

from __future__ import annotations

from bench.systems.base import System
from bench.systems.environments import Ours

SYSTEM = System(
    name="raw",
    version="psycopg 3",
    settings="one table, history kept, batches of 200, prepared, generic plans, completion and next claim pipelined",
    environment=Ours(),
    driver="on_raw.py",
    unfinished="SELECT EXISTS (SELECT FROM raw_job WHERE finished_at IS NULL)",
    ended="SELECT extract(epoch FROM max(finished_at))::float8 FROM raw_job",
    gate="raw_job",
    pace=80_000,
    bulk_pace=300_000,
    skips={"k": "runs one job at a time", "l": "runs one job at a time"},
    fill="""
        INSERT INTO raw_job (args) SELECT jsonb_build_object('order_id', n, 'email', 'user@example.com')
        FROM generate_series(1, %(jobs)s) n""",
    history="""
        INSERT INTO raw_job (args, state, started_at, finished_at)
        SELECT jsonb_build_object('order_id', n, 'email', 'user@example.com'), 2, at, at
        FROM generate_series(1, %(jobs)s) n, (SELECT now() - make_interval(days => %(days)s) AS at) old""",
)
