"""(o) throughput as workers grow, and whether they get equal shares."""

from __future__ import annotations

from typing import Any

from bench.stage import set_stage
from bench.steps.base import Run
from bench.systems import System

PLACES = 25
MILLIS = 50
EACH = PLACES * 1000 // MILLIS
"""Jobs a second that one process with sleeping handlers can do at the most: so few that the cores do not run out."""


def measure_scale(run: Run, system: System) -> None:
    """1, 2, 4, 8 worker processes: with handlers that sleep, and with handlers that do nothing."""
    if system.name != "pgjobq":
        return
    for processes in run.sizes.processes:
        _drain(run, system, processes, "sleep", int(EACH * processes * run.sizes.seconds))
        if processes > 2:  # one and two are the steps c and d
            _drain(run, system, processes, "noop", run.sizes.bulk)


def _drain(run: Run, system: System, processes: int, handler: str, jobs: int) -> None:
    with set_stage(run.server, system) as stage:
        system.enqueue_bulk(stage.dsn, jobs)
        options: dict[str, Any] = {"handler": "sleep", "millis": MILLIS} if handler == "sleep" else {}
        concurrency = PLACES if handler == "sleep" else 100
        drained = stage.drain(jobs, processes=processes, concurrency=concurrency, **options)
        run.results.add(f"{handler}{processes}", system.name, drained.rate, jobs)
        if handler == "sleep" and processes == max(run.sizes.processes):
            counts = [count for count in drained.counts if count] + [0] * (processes - len(drained.counts))
            run.results.add("spread", system.name, 100 * (max(counts) - min(counts)) / (sum(counts) / processes), jobs)
