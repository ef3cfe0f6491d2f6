"""(j) does claiming slow down when the backlog is deep?"""

from __future__ import annotations

import time

import psycopg

from bench.stage import set_stage
from bench.steps.base import Run
from bench.systems import System

NAMES = {10_000: "deep10k", 1_000_000: "deep1m", 3_000_000: "deep3m"}
SECONDS = 2.0


def measure_backlog(run: Run, system: System) -> None:
    """The pace of one worker process over the first two seconds, or until a shallow backlog is gone.

    The backlog grows in one database: what the shallower ones have left of it is filled up.
    """
    if system.fill is None:
        return
    left = 0
    with set_stage(run.server, system) as stage:
        for depth in run.sizes.depths:
            with psycopg.connect(stage.dsn, autocommit=True) as connection:
                connection.execute(system.fill.encode(), {"jobs": depth - left})
                connection.execute("VACUUM ANALYZE")
            run.server.settle()
            with run.server.gate(stage.dsn, system.gate) as gate, stage.workers(concurrency=100) as workers:
                gate.wait_for(1)
                gate.open()
                begun = time.monotonic()
                while (done := workers.started()) < depth and time.monotonic() - begun < SECONDS:
                    workers.check()
                    time.sleep(0.005)
                run.results.add(NAMES[depth], system.name, done / (time.monotonic() - begun), depth)
                left = depth - done
