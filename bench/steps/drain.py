"""(b) bulk, (c) and (d) drain with one and two processes, (f) drain under a held snapshot, (g) bytes and WAL."""

from __future__ import annotations

from bench.stage import Stage, TookTooLong, set_stage
from bench.steps.base import Run, cut
from bench.systems import System

CONCURRENCY = 100


def measure_life(run: Run, system: System) -> None:
    """Fill, drain with one process; on the way, what a job weighs."""
    jobs = cut(run.sizes.bulk, system.pace, run.sizes.seconds)
    with set_stage(run.server, system) as stage:
        weighs = bool(stage.dsn)
        empty = run.server.size(stage.dsn) if weighs else 0
        before = run.server.wal_position()
        jobs_in = cut(run.sizes.bulk, system.bulk_pace, run.sizes.seconds)
        fill(run, stage, jobs_in)
        if weighs:
            run.results.add("wal_in", system.name, (run.server.wal_position() - before) / jobs_in, jobs_in)
            run.results.add("waiting", system.name, (run.server.size(stage.dsn) - empty) / jobs_in, jobs_in)
    with set_stage(run.server, system) as stage:
        empty = run.server.size(stage.dsn) if weighs else 0
        system.enqueue_bulk(stage.dsn, jobs)
        before = run.server.wal_position()
        drained = stage.drain(jobs, concurrency=CONCURRENCY)
        run.results.add("drain1", system.name, drained.rate, jobs)
        run.results.add("cpu_worker", system.name, drained.cpu[0], jobs)
        if drained.cpu[1] is not None:
            run.results.add("cpu_db", system.name, drained.cpu[1], jobs)
        if weighs:
            run.results.add("wal_run", system.name, (run.server.wal_position() - before) / jobs, jobs)
        if weighs and system.keeps_history:
            run.results.add("done", system.name, (run.server.size(stage.dsn) - empty) / jobs, jobs)


def measure_two(run: Run, system: System) -> None:
    """Drain with two worker processes."""
    jobs = cut(run.sizes.bulk, 2 * system.pace, run.sizes.seconds)
    with set_stage(run.server, system) as stage:
        system.enqueue_bulk(stage.dsn, jobs)
        drained = stage.drain(jobs, processes=2, concurrency=CONCURRENCY)
        run.results.add("drain2", system.name, drained.rate, jobs)


def measure_held(run: Run, system: System) -> None:
    """The last jobs of a long drain while another transaction keeps every dead row from being removed."""
    first = cut(run.sizes.held, system.pace, 1.75 * run.sizes.seconds)
    tail = cut(run.sizes.held_tail, system.pace, 0.5 * run.sizes.seconds)
    with set_stage(run.server, system) as stage, run.server.held_snapshot(stage.dsn):
        system.enqueue_bulk(stage.dsn, first + tail)
        drained = stage.drain(first + tail, tail=tail, concurrency=CONCURRENCY)
        if drained.tail is None:
            raise TookTooLong(f"the last {tail:,} jobs went by between two looks: too few to be timed")
        run.results.add("held", system.name, drained.tail[0] / drained.tail[1], first + tail)
        run.results.add_ratio("held_ratio", system.name, "held", "drain1")


def fill(run: Run, stage: Stage, jobs: int) -> None:
    """Enqueue in bulk, and keep how quick it was."""
    answer = stage.system.enqueue_bulk(stage.dsn, jobs)
    run.results.add("bulk", stage.system.name, answer["jobs"] / answer["seconds"], jobs)
