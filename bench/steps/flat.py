"""(p) a million jobs from a generator; and does claiming stay as quick: through all of them under a held snapshot, and
among a thousand lanes?"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import psycopg

from bench.stage import Stage, TookTooLong, set_stage
from bench.steps.base import Run
from bench.systems import System
from bench.workers import Workers

PART = 10
"""The first and the last tenth are timed."""
GLANCE = 0.002


def measure_flat(run: Run, system: System) -> None:
    """A stream into the queue; the pace of the first and the last jobs of a long drain; one lane and a thousand, nearly
    all of them empty."""
    if system.fill is None:
        return
    with _stood(run, system, None, run.sizes.flat, held=True) as stage:
        first, last = _paces(run, stage, run.sizes.flat)
        run.results.add("flat_first", system.name, first, run.sizes.flat)
        run.results.add("flat_last", system.name, last, run.sizes.flat)
        run.results.add_ratio("flat_ratio", system.name, "flat_last", "flat_first")
    if system.lanes is None:
        return
    for metric, fill in (("lane1", system.fill), ("lane1000", system.lanes)):
        with _stood(run, system, fill, run.sizes.bulk) as stage:
            run.results.add(metric, system.name, stage.drain(run.sizes.bulk, concurrency=100).rate, run.sizes.bulk)
    run.results.add_ratio("lane_ratio", system.name, "lane1000", "lane1")


@contextlib.contextmanager
def _stood(run: Run, system: System, fill: str | None, jobs: int, *, held: bool = False) -> Iterator[Stage]:
    """A stage on which so many jobs stand ready, by `fill` or (None) as an application streams them in."""
    with set_stage(run.server, system) as stage:
        if fill is None:
            answer = system.enqueue_bulk(stage.dsn, jobs)
            run.results.add("stream", system.name, answer["jobs"] / answer["seconds"], jobs)
            run.results.add("stream_memory", system.name, answer["grown"], jobs)
        with psycopg.connect(stage.dsn, autocommit=True) as connection:
            if fill is not None:
                connection.execute(fill.encode(), {"jobs": jobs})
            connection.execute("VACUUM ANALYZE")
        run.server.settle()
        with run.server.held_snapshot(stage.dsn) if held else contextlib.nullcontext():
            yield stage


def _paces(run: Run, stage: Stage, jobs: int) -> tuple[float, float]:
    """Jobs a second over the first and over the last tenth."""
    with run.server.gate(stage.dsn, stage.system.gate) as gate, stage.workers(concurrency=100) as workers:
        gate.wait_for(1)
        gate.open()
        limit = time.monotonic() + 60 + 8 * jobs / stage.system.pace
        begun = time.monotonic()
        started, until_first = _watch(workers, jobs // PART, limit)
        first = started / (until_first - begun)
        before, from_here = _watch(workers, jobs - jobs // PART, limit)
        if before >= jobs:
            raise TookTooLong(f"the last {jobs // PART:,} jobs went by between two looks: too few to be timed")
        _, ends = _watch(workers, jobs, limit)
        return first, (jobs - before) / (ends - from_here)


def _watch(workers: Workers, jobs: int, limit: float) -> tuple[int, float]:
    """Wait until so many handlers were called; how many it were, and when."""
    while (done := workers.started()) < jobs:
        workers.check()
        if time.monotonic() > limit:
            raise TookTooLong(f"{done:,} of {jobs:,} jobs")
        time.sleep(GLANCE)
    return done, time.monotonic()
