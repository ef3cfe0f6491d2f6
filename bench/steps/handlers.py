"""(k) handlers that take time, (l) plain functions in threads, and computing ones in one and two processes."""

from __future__ import annotations

from bench.stage import set_stage
from bench.steps.base import Run, cut
from bench.systems import System

PLACES = 50
TIMES = {"ms1": 1, "ms10": 10, "ms100": 100}


def measure_waiting(run: Run, system: System) -> None:
    """How close to places / duration: the rest is what the queue itself costs."""
    for metric, millis in TIMES.items():
        best = PLACES * 1000 / millis
        jobs = cut(int(best * run.sizes.seconds), min(best, system.pace), run.sizes.seconds)
        with set_stage(run.server, system) as stage:
            system.enqueue_bulk(stage.dsn, jobs)
            drained = stage.drain(jobs, concurrency=PLACES, handler="sleep", millis=millis, limited=True)
            run.results.add(metric, system.name, 100 * drained.rate / best, jobs)


def measure_plain(run: Run, system: System) -> None:
    """Plain functions: doing nothing (what a thread costs), and computing (what a second process gains)."""
    if not system.has_sync:
        return
    for metric, processes, handler, pace in (
        ("threads", 1, "noop", system.pace / 3),
        ("cpu1", 1, "cpu", min(800, system.pace)),
        ("cpu2", 2, "cpu", min(1_500, system.pace)),
    ):
        jobs = cut(run.sizes.bulk, pace, run.sizes.seconds)
        with set_stage(run.server, system) as stage:
            system.enqueue_bulk(stage.dsn, jobs, sync=True)
            drained = stage.drain(
                jobs, processes=processes, concurrency=10, handler=handler, millis=1, sync=True, limited=True
            )
            run.results.add(metric, system.name, drained.rate, jobs)
