"""(e) how long a job waits for an idle worker: from the call of enqueue to the first line of the handler."""

from __future__ import annotations

import time

from bench.arithmetic import percentile
from bench.stage import TookTooLong, set_stage
from bench.steps.base import Run
from bench.systems import System

GAP = 0.025
PATIENCE = 15.0


def measure_pickup(run: Run, system: System) -> None:
    """Probes one at a time, with pauses: the worker is asleep each time. The commit is part of it."""
    probes = run.sizes.probes
    with set_stage(run.server, system) as stage, stage.workers(concurrency=10, handler="mark") as workers:
        ends = time.monotonic() + PATIENCE
        while workers.ready() < 1 and time.monotonic() < ends:
            workers.check()
            time.sleep(0.02)
        time.sleep(1.0)
        sent = system.probe(stage.dsn, probes, GAP)["sent"]
        ends = time.monotonic() + PATIENCE
        while not {order for order, _, _ in sent} <= workers.marks().keys() and time.monotonic() < ends:
            time.sleep(0.05)
        marks = workers.marks()  # those of the warm-up, too
    took = [(marks[order] - before) / 1e6 for order, before, _ in sent if order in marks]
    if len(took) < probes:
        raise TookTooLong(f"{len(took)} of {probes} probes were picked up within {PATIENCE:.0f} s")
    for percent in (50, 95, 99):
        run.results.add(f"pickup{percent}", system.name, percentile(took, percent), probes)
