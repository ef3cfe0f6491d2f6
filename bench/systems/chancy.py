"""chancy."""

from __future__ import annotations

from bench.systems.base import System
from bench.systems.environments import Python

SYSTEM = System(
    name="chancy",
    version="0.26.0",
    settings="AsyncExecutor, eager_polling, polling every second, push_many in 5,000s, no plugins (no pruning)",
    environment=Python("chancy", ("chancy==0.26.0", "uvloop")),
    driver="on_chancy.py",
    unfinished="SELECT EXISTS (SELECT FROM chancy_jobs WHERE state IN ('pending', 'running', 'retrying'))",
    ended="SELECT extract(epoch FROM max(completed_at))::float8 FROM chancy_jobs",
    gate="chancy_jobs",
    pace=3_500,
    bulk_pace=4_500,
    minor=True,
)
