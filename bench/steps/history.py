"""(n) does a long history slow anything down, and does forgetting one?"""

from __future__ import annotations

import time

import psycopg

from bench.stage import Stage, TookTooLong, set_stage
from bench.steps.base import Run, cut
from bench.steps.drain import CONCURRENCY
from bench.systems import System

AGED = 100
"""Days after which every job is old by default."""
KEPT = 1
"""Days after which a job is kept by default. Not today: what ended within the last minutes is counted once for the
charts when a worker starts, and ten million jobs that all end in a minute (3 s of it) are no history."""
EARLY = 1.3
"""More old jobs than are drained: the first ones are deleted before the gate opens."""
PATIENCE = 60.0


def measure_history(run: Run, system: System) -> None:
    """Enqueue and drain on an empty history, on a long one, and while as many old jobs are being deleted."""
    if system.history is None:
        return
    jobs, ones = run.sizes.bulk, cut(run.sizes.one, 1_000, run.sizes.seconds)
    for metric, finished, days in (
        ("hist0", 0, 0),
        ("hist", run.sizes.history, KEPT),
        ("pruned", int(EARLY * jobs), AGED),
    ):
        if metric == "pruned" and not system.prunes:
            continue
        with set_stage(run.server, system) as stage:
            _age(run, stage, finished, days)
            system.enqueue_bulk(stage.dsn, jobs)
            drained = stage.drain(jobs, concurrency=CONCURRENCY, until=_pruned if metric == "pruned" else None)
            run.results.add(metric, system.name, drained.rate, jobs)
            if drained.cpu[1] is not None:
                run.results.add(f"{metric}_cpu", system.name, sum(each or 0 for each in drained.cpu), jobs)
            if metric != "pruned":
                answer = system.enqueue_one(stage.dsn, jobs=ones)
                run.results.add(f"{metric}_one", system.name, answer["jobs"] / answer["seconds"], ones)
    for metric, over, under in (
        ("hist_ratio", "hist", "hist0"),
        ("hist_one_ratio", "hist_one", "hist0_one"),
        ("pruned_ratio", "pruned", "hist0"),
        ("hist_cpu_ratio", "hist_cpu", "hist0_cpu"),
        ("pruned_cpu_ratio", "pruned_cpu", "hist0_cpu"),
    ):
        run.results.add_ratio(metric, system.name, over, under)


def _age(run: Run, stage: Stage, jobs: int, days: int) -> None:
    """A history, in portions that keep each transaction short."""
    assert stage.system.history is not None
    with psycopg.connect(stage.dsn, autocommit=True) as connection:
        while jobs > 0:
            connection.execute(stage.system.history, {"jobs": min(jobs, 1_000_000), "days": days})
            jobs -= 1_000_000
        connection.execute("VACUUM ANALYZE")
    run.server.settle()


def _pruned(stage: Stage) -> None:
    """Until nothing old is left: if the deletion had not kept up, this drain would prove nothing."""
    ends = time.monotonic() + PATIENCE
    query = f"SELECT EXISTS (SELECT FROM pgjobq.finished WHERE finished_at < now() - interval '{AGED - 1} days')"
    with psycopg.connect(stage.dsn, autocommit=True) as connection:
        while connection.execute(query).fetchone() == (True,):
            if time.monotonic() > ends:
                raise TookTooLong(f"old jobs were left after {PATIENCE:.0f} s")
            time.sleep(0.02)
