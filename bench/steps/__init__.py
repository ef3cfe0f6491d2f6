"""The questions, in the order in which they are asked."""

from __future__ import annotations

from bench.steps.backlog import measure_backlog
from bench.steps.base import FULL, QUICK, Run, Sizes, Step
from bench.steps.drain import measure_held, measure_life, measure_two
from bench.steps.enqueue import measure_eight, measure_one
from bench.steps.flat import measure_flat
from bench.steps.handlers import measure_plain, measure_waiting
from bench.steps.history import measure_history
from bench.steps.idle import measure_crowd, measure_idle
from bench.steps.pickup import measure_pickup
from bench.steps.scale import measure_scale

__all__ = ["FULL", "QUICK", "STEPS", "Run", "Sizes", "Step", "choose_steps"]

STEPS = [
    Step("a", "enqueue one by one", measure_one, repeated=True),
    Step("bcg", "enqueue in bulk, drain with one process, bytes and WAL", measure_life, repeated=True),
    Step("d", "drain with two processes", measure_two, repeated=True),
    Step("e", "pickup latency", measure_pickup),
    Step("f", "drain under a held snapshot", measure_held),
    Step("h", "memory and idle CPU", measure_idle),
    Step("i", "eight clients enqueue at once", measure_eight, quick=False, narrow=True),
    Step("j", "deep backlogs", measure_backlog, quick=False),
    Step("k", "handlers that wait", measure_waiting, quick=False, narrow=True),
    Step("l", "plain functions", measure_plain, quick=False),
    Step(
        "m",
        "a crowd of idle workers",
        measure_crowd,
        quick=False,
        among=("pgjobq", "raw", "procrastinate", "pgqueuer"),  # 32 interpreters; of Node they would take 3 GB
    ),
    Step("n", "a long history, and forgetting one", measure_history, quick=False, ours=True),
    Step("o", "more and more worker processes", measure_scale, quick=False, ours=True),
    Step(
        "p",
        "a million jobs from a generator and under a held snapshot, a thousand lanes",
        measure_flat,
        quick=False,
        ours=True,
    ),
]


def choose_steps(letters: str | None, *, quick: bool) -> list[Step]:
    """The steps of these letters (`a,c,e`); None: all, or all that a quick run has time for.

    Raises ValueError for a letter that no step has.
    """
    if letters is None:
        return [step for step in STEPS if step.quick or not quick]
    wanted = [letter.strip() for letter in letters.split(",") if letter.strip()]
    known = "".join(step.letters for step in STEPS)
    for letter in wanted:
        if len(letter) != 1 or letter not in known:
            raise ValueError(f"no step {letter!r}: there are {','.join(sorted(known))}")
    return [step for step in STEPS if set(step.letters) & set(wanted)]
