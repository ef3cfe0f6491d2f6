"""oban for Python."""

from __future__ import annotations

from bench.systems.base import System
from bench.systems.environments import Python

SYSTEM = System(
    name="oban",
    version="0.7.0",
    settings="a psycopg pool, enqueue_many in thousands, one queue with the limit asked for",
    environment=Python("oban", ("oban==0.7.0", "uvloop"), newer_than=(3, 12)),
    driver="on_oban.py",
    unfinished="SELECT EXISTS (SELECT FROM oban_jobs WHERE state IN ('available', 'executing', 'retryable'))",
    ended="SELECT extract(epoch FROM max(completed_at))::float8 FROM oban_jobs",
    gate="oban_jobs",
    pace=6_000,
    bulk_pace=7_000,
    minor=True,
)
