"""(h) what a worker weighs and what it costs to wait, (m) a crowd of idle workers, and a job that comes to it."""

from __future__ import annotations

import time

import psycopg

from bench.stage import set_stage
from bench.steps.base import Run, cut
from bench.systems import System
from bench.workers import Workers

CALM = 1.5
GAP = 0.05


def measure_idle(run: Run, system: System) -> None:
    """Memory after some thousand jobs, and CPU of doing nothing."""
    jobs = cut(5_000, system.pace, run.sizes.seconds)
    with set_stage(run.server, system) as stage:
        system.enqueue_bulk(stage.dsn, jobs)
        with stage.workers(concurrency=10) as workers:
            ends = time.monotonic() + 60
            while workers.started() < jobs and time.monotonic() < ends:
                workers.check()
                time.sleep(0.05)
            time.sleep(CALM)
            run.results.add("rss", system.name, workers.resident(), jobs)
            _watch(run, system, workers, run.sizes.idle)


def _watch(run: Run, system: System, workers: Workers, seconds: float) -> None:
    begun, mine, theirs = time.monotonic(), workers.cpu(), run.server.cpu()
    time.sleep(seconds)
    took = time.monotonic() - begun
    run.results.add("idle", system.name, 100 * (workers.cpu() - mine) / took)
    if theirs is not None and system.unfinished is not None:
        run.results.add("idle_db", system.name, 100 * ((run.server.cpu() or 0) - theirs) / took)


def measure_crowd(run: Run, system: System) -> None:
    """Many worker processes on an empty queue: what their polling costs the database, and what it costs when a job
    comes and all of them may want it.
    """
    if run.server.pid is None:
        raise RuntimeError("the server's CPU can only be read on this machine")
    with set_stage(run.server, system) as stage, stage.workers(run.sizes.crowd, concurrency=10) as workers:
        _wait_for_crowd(stage.dsn, run.sizes.crowd, workers)
        begun, before = time.monotonic(), run.server.cpu() or 0
        time.sleep(run.sizes.idle)
        used = (run.server.cpu() or 0) - before
        run.results.add("crowd", system.name, 100 * used / (time.monotonic() - begun))
        jobs, before = run.sizes.probes // 3, run.server.cpu() or 0
        sent = len(system.probe(stage.dsn, jobs, GAP)["sent"])
        run.results.add("herd", system.name, 1000 * ((run.server.cpu() or 0) - before) / sent, jobs)


def _wait_for_crowd(dsn: str, processes: int, workers: Workers) -> None:
    """Until all have connected and then been quiet for a while."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    ends = time.monotonic() + 60
    with psycopg.connect(dsn, autocommit=True) as connection:
        seen, since = 0, time.monotonic()
        while time.monotonic() < ends:
            workers.check()
            row = connection.execute(query).fetchone()
            assert row is not None
            if row[0] > seen:
                seen, since = row[0], time.monotonic()
            if seen >= processes and time.monotonic() - since > CALM:
                return
            time.sleep(0.2)
    raise RuntimeError(f"only {seen} of {processes} workers had connected within 60 s")
