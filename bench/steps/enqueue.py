"""(a) one by one, (i) eight clients at once, with and without a busy worker."""

from __future__ import annotations

import time

from bench.stage import Stage, set_stage
from bench.steps.base import Run, cut
from bench.systems import System
from bench.systems.base import finish

CLIENTS = 8
PLACES, MILLIS = 10, 100
BUSY_SECONDS = 20.0
START_SECONDS = 3.0
"""Eight interpreters on two cores need about so long to be ready; then they begin together."""


def measure_one(run: Run, system: System) -> None:
    """One client, one job a transaction."""
    jobs = cut(run.sizes.one, 1_000, 2 * run.sizes.seconds)
    with set_stage(run.server, system) as stage:
        answer = system.enqueue_one(stage.dsn, jobs=jobs)
        run.results.add("one", system.name, answer["jobs"] / answer["seconds"], jobs)
        if system.name == "pgjobq":
            answer = system.enqueue_one(stage.dsn, jobs=jobs, pool=True)
            run.results.add("pooled", system.name, answer["jobs"] / answer["seconds"], jobs)


def measure_eight(run: Run, system: System) -> None:
    """Eight clients: what NOTIFY's lock and the claims of a worker cost them."""
    with set_stage(run.server, system) as stage:
        run.results.add("eight", system.name, _all_at_once(stage, run.sizes.seconds))
    # A worker whose places are all taken: it has to be told nothing, and uses next to no CPU. With a backlog from the
    # start: one that was idle a moment ago is told for some seconds more.
    with set_stage(run.server, system) as stage:
        system.enqueue_bulk(stage.dsn, int(BUSY_SECONDS * PLACES * 1000 / MILLIS))
        with stage.workers(concurrency=PLACES, handler="sleep", millis=MILLIS):
            run.results.add("eight_busy", system.name, _all_at_once(stage, run.sizes.seconds))
    run.results.add_ratio("eight_ratio", system.name, "eight_busy", "eight")


def _all_at_once(stage: Stage, seconds: float) -> float:
    at = time.monotonic() + START_SECONDS
    clients = [stage.system.start("one", stage.dsn, seconds=seconds, at=at) for _ in range(CLIENTS)]
    try:
        answers = [finish(client) for client in clients]
    finally:
        for client in clients:
            client.kill()
            client.wait()
    return float(sum(answer["jobs"] / answer["seconds"] for answer in answers))
