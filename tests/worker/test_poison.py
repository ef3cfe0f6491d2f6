"""Poison: whatever a handler does, it ends as recorded attempts and at the last as failed, with a reason; the others go
on, and the next job on that worker runs."""

from __future__ import annotations

import re

import pytest

from worker.stage import Running, Stage, wait_until

APP = "apps.poison:queue"
KINDS = ["plain", "coroutine"]
TOLD = {
    "sys.exit": "SystemExit: 3",
    "BaseException": "apps.poison.Base: b",
    "KeyboardInterrupt": "KeyboardInterrupt",
    "GeneratorExit": "GeneratorExit",
    "StopIteration": "StopIteration: s|RuntimeError: coroutine raised StopIteration",
    "CancelledError": "asyncio.exceptions.CancelledError: c",
    "recursion": "RecursionError: maximum recursion depth",
    "unserialisable": "UnstorableResult: .* type object that cannot be kept as the job's result",
    "nul in the result": "UnstorableResult: .* U\\+0000",
    "huge message": "ValueError: xxx",
    "nul": "ValueError: a\\\\x00b",
    "surrogate": "ValueError: a\\\\ud800b",
    "unprintable": "Unspeakable: <.* whose str\\(\\) raised RuntimeError>",
}
"""What is raised or returned, and how the reason reads: such a handler is nobody's trouble but its own."""
DEADLY = {
    "kill": "signal SIGKILL",
    "segfault": "signal SIGSEGV",
    "abort": "signal SIGABRT",
    "os._exit": "exit code 3",
    "os._exit(0)": "exit code 0",
}
"""What ends the process of the handler."""
ENDLESS = {
    ("plain", "spin"): "TimeoutError",
    ("plain", "hold the GIL"): "WorkerDied: job #\\d+ did not end after its time-out, nor by SIGTERM",
    ("plain", "block"): "WorkerDied: job #\\d+ did not end after its time-out, and was left behind",
    ("coroutine", "spin"): "TimeoutError",
    ("coroutine", "hold the GIL"): "TimeoutError",
    ("coroutine", "block"): "TimeoutError",
}
"""What does not end, and what becomes of it; "block" waits in C code and lets the GIL go. On the loop, in the
main thread, SIGTERM interrupts what waits in the kernel."""


def check_failed(stage: Stage, job: int, attempts: int, told: str) -> None:
    """It was started so often, each attempt was recorded once, and it is failed with that reason."""
    row = stage.wait_state(job, "failed")
    assert row["attempt"] == attempts
    assert len(stage.starts(job)) == attempts
    assert [error["attempt"] for error in stage.errors(job)] == list(range(1, attempts + 1))
    assert re.search(told, row["reason"]), (row["reason"], told)
    assert len(row["reason"]) < 12_000


def check_well(stage: Stage, worker: Running) -> None:
    """The worker runs the next job, and ends in order."""
    assert stage.wait_state(stage.enqueue("note"), "succeeded")["attempt"] == 1
    assert worker.stop() == 0, worker.text


@pytest.mark.parametrize("kind", [*KINDS, *(f"{kind}, isolated" for kind in KINDS)])
def test_what_a_handler_raises_or_returns(stage: Stage, kind: str) -> None:
    """All at once, with a neighbour that runs all the while and others between: these succeed at the first attempt."""
    worker = stage.worker("--concurrency", "5", app=APP).ready()
    held = stage.enqueue("hold")
    stage.wait_marks("start")
    jobs = {}
    for which in TOLD:
        jobs[which] = stage.enqueue(kind, {"which": which}, max_attempts=2)
        stage.enqueue_many("note", 3)
    for which, told in TOLD.items():
        check_failed(stage, jobs[which], 2, told)
    stage.open_gate()
    stage.wait_state(held, "succeeded")
    assert dict(stage.query("SELECT attempt, count(*) FROM pgjobq.finished WHERE outcome = 's' GROUP BY 1")) == {
        1: 3 * len(TOLD) + 1
    }
    assert worker.events("process_died") == []
    check_well(stage, worker)


@pytest.mark.parametrize("which", DEADLY)
@pytest.mark.parametrize("kind", KINDS)
def test_what_ends_the_process(stage: Stage, kind: str, which: str) -> None:
    """The process dies twice, that is told each time and at the end, and others are run again in the next one."""
    worker = stage.worker(app=APP).ready()
    job = stage.enqueue(kind, {"which": which}, max_attempts=2)
    stage.enqueue_many("note", 5)
    check_failed(stage, job, 2, f"WorkerDied: its worker process \\(pid \\d+\\) ended with {DEADLY[which]}")
    stage.wait_state(stage.enqueue("note"), "succeeded")
    wait_until(lambda: stage.states() == {"failed": 1, "succeeded": 6})  # who died twice with it waits a second
    died = worker.wait_event("process_died", 2)
    assert died["signal"] == (DEADLY[which].split()[-1] if "signal" in DEADLY[which] else None)
    check_well(stage, worker)
    assert worker.events("worker_stopped")[0]["deaths"] == 2


@pytest.mark.parametrize(("kind", "which"), ENDLESS)
def test_what_does_not_end(stage: Stage, kind: str, which: str) -> None:
    """With a time-out of 0.5 s. A neighbour that has one attempt in all does not lose it."""
    worker = stage.worker(app=APP).ready()
    held = stage.enqueue("hold", max_attempts=1)
    stage.wait_marks("start")
    job = stage.enqueue(f"{kind}, timed", {"which": which}, max_attempts=1)
    check_failed(stage, job, 1, ENDLESS[kind, which])
    stage.open_gate()
    stage.wait_state(held, "succeeded")
    check_well(stage, worker)


@pytest.mark.parametrize("kind", KINDS)
def test_what_eats_memory(stage: Stage, kind: str) -> None:
    """Its process is killed at twice --max-memory, twice; then the job has failed."""
    worker = stage.worker("--max-memory", "100MB", app=APP).ready()
    job = stage.enqueue(kind, {"which": "eat memory"}, max_attempts=2)
    check_failed(stage, job, 2, "WorkerDied: memory: its worker process used .* than twice its --max-memory of 100MB")
    check_well(stage, worker)


@pytest.mark.parametrize("kind", KINDS)
def test_isolated_all_of_it_harms_nobody(stage: Stage, kind: str) -> None:
    """What ends a process, does not end or eats memory, all at once on one worker: none of its processes dies, a
    neighbour runs on, and others are run at their first attempt meanwhile."""
    worker = stage.worker("--concurrency", "5", app=APP).ready()
    held = stage.enqueue("hold", max_attempts=1)
    stage.wait_marks("start")
    endless = dict.fromkeys(("spin", "hold the GIL", "block"), "TimeoutError: the attempt ran longer than its time-out")
    died = {which: f"IsolatedProcessDied: its process \\(pid \\d+\\) ended with {how}" for which, how in DEADLY.items()}
    told = died | endless | {"eat memory": "MemoryError"}
    jobs = {which: stage.enqueue(f"{kind}, isolated", {"which": which}, max_attempts=2) for which in told}
    stage.enqueue_many("note", 5)
    for which, words in told.items():
        check_failed(stage, jobs[which], 2, words)
    stage.open_gate()
    assert stage.wait_state(held, "succeeded")["attempt"] == 1
    wait_until(lambda: stage.states() == {"failed": len(told), "succeeded": 6})
    assert worker.events("process_died") == worker.events("jobs_overdue") == []
    check_well(stage, worker)
