"""graphile-worker with its batch settings."""

from __future__ import annotations

from bench.systems.base import System
from bench.systems.environments import Node

SYSTEM = System(
    name="graphile-worker",
    version="0.18.0",
    settings="localQueue 500, completeJobBatchDelay 0, addJobs in 5,000s; deletes finished jobs",
    environment=Node("graphile-worker", ("graphile-worker@0.18.0", "pg")),
    driver="on_graphile_worker.mjs",
    unfinished="SELECT EXISTS (SELECT FROM graphile_worker._private_jobs)",
    ended=None,
    gate="graphile_worker._private_jobs",
    pace=50_000,
    bulk_pace=70_000,
    keeps_history=False,
)
