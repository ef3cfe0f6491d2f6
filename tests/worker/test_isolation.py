"""`isolation="process"`: each attempt in a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import pytest

import pgjobq
from pgjobq import Queue, TaskError
from worker.stage import Running, Stage, is_alive, run_drained, wait_until

APP = "apps.isolated:queue"


@pytest.fixture
def worker(stage: Stage) -> Running:
    """One with places for six jobs."""
    return stage.worker("--concurrency", "6", app=APP).ready()


def test_arguments_results_and_the_current_job_cross(stage: Stage, worker: Running) -> None:
    """As for any handler, sync and async; prints and logs arrive where the worker's do."""
    job = stage.enqueue("tell", {"words": ["ä", "\U0001f600"]}, ref="order:1", tags=["t"], headers='{"k": "v"}')
    other = stage.enqueue("atell", {"words": ["x" * 500_000]})
    assert stage.wait_state(job, "succeeded")["result"] == {
        "id": job,
        "attempt": 1,
        "ref": "order:1",
        "tags": ["t"],
        "headers": {"k": "v"},
        "words": ["ä", "\U0001f600"],
        "cancelled": False,
        "queue": "default",
    }
    assert stage.wait_state(other, "succeeded")["result"] == ["x" * 500_000, "atell"]
    for mark in stage.marks("start"):
        assert mark["pid"] not in (worker.pid, *worker.children())
        assert mark["parent"] in worker.children()
    assert "printed by tell" in worker.text
    assert "logged by tell" in worker.text
    assert worker.stop() == 0


def test_a_process_is_used_again_and_has_one_job_at_a_time(stage: Stage, worker: Running) -> None:
    for _ in range(3):
        stage.enqueue("tell", {"words": []})
        stage.wait_all("succeeded")
    assert len({mark["pid"] for mark in stage.marks("start")}) == 1
    held = [stage.enqueue("hold_isolated") for _ in range(3)]
    stage.wait_marks("start", 6)
    assert len({mark["pid"] for mark in stage.marks("start")}) == 3
    stage.open_gate()
    for job in held:
        stage.wait_state(job, "succeeded")
    assert worker.stop() == 0


def test_processes_are_replaced_after_so_many_jobs(stage: Stage) -> None:
    """`--max-jobs-per-process` holds for them too."""
    stage.enqueue_many("tell", 6, {"words": []})
    stage.drain("--concurrency", "1", "--max-jobs-per-process", "2", app=APP)
    stage.wait_all("succeeded")
    pids = [mark["pid"] for mark in stage.marks("start")]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [2, 2, 2]


def test_a_busy_handler_leaves_the_others_alone(stage: Stage, worker: Running) -> None:
    """While two use a processor each, the loop of the worker's process runs what comes at once."""
    busy = [stage.enqueue("burn") for _ in range(2)]
    stage.wait_marks("start", 2)
    job = stage.enqueue("note")
    stage.wait_state(job, "succeeded", timeout=20)
    assert stage.marks("end") == []
    stage.open_gate()
    for job in busy:
        assert stage.wait_state(job, "succeeded")["attempt"] == 1


def test_snooze_discard_and_rules(stage: Stage, worker: Running) -> None:
    """What a handler says by an exception means the same, and the task's own rules are asked."""
    snoozed, discarded, failed = (stage.enqueue(task) for task in ("snooze_once", "discard", "give_up"))
    assert stage.wait_state(snoozed, "succeeded")["attempt"] == 2
    assert stage.errors(snoozed) == []
    assert stage.wait_state(discarded, "cancelled")["reason"] == "nobody wants it"
    row = stage.wait_state(failed, "failed")
    assert (row["attempt"], row["reason"]) == (1, "KeyError: 'k'")
    (error,) = stage.errors(failed)
    assert 'raise KeyError("k")' in error["traceback"]
    assert str(Path(pgjobq.__file__).parent) not in error["traceback"].split("\n")[1]


@pytest.mark.parametrize("task", ["late", "alate", "late_and_blocking", "late_and_deaf"])
def test_a_time_out(stage: Stage, worker: Running, task: str) -> None:
    """An exception in the handler, which may tidy up, and SIGKILL 3 s later; nobody else notices."""
    neighbour = stage.enqueue("hold_isolated")
    job = stage.enqueue(task, max_attempts=1)
    row = stage.wait_state(job, "failed", timeout=30)
    assert row["reason"] == "TimeoutError: the attempt ran longer than its time-out of 3 s"
    assert [mark["cancelled"] for mark in stage.marks("tidied")] == ([True] if task in ("late", "alate") else [])
    (error,) = stage.errors(job)
    assert ("SIGKILL" in error["traceback"]) == (task == "late_and_deaf")
    stage.open_gate()
    assert stage.wait_state(neighbour, "succeeded")["attempt"] == 1
    assert worker.events("process_died") == []
    assert worker.stop() == 0


def test_a_hurried_shutdown_interrupts_it(stage: Stage, worker: Running) -> None:
    """It runs again later, without having spent an attempt."""
    job = stage.enqueue("hold_isolated", max_attempts=1)
    stage.wait_marks("start")
    worker.send_group(signal.SIGTERM)  # the group: the first one must not reach the handler
    worker.wait_event("shutdown_began")
    assert stage.marks("out") == []
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    (out,) = stage.marks("out")
    assert (out["by"], out["cancelled"]) == ("Interruption", True)
    assert stage.errors(job) == []
    stage.open_gate()
    stage.worker(app=APP)
    assert stage.wait_state(job, "succeeded")["attempt"] == 2


@pytest.mark.parametrize("whom", ["process", "supervisor"])
def test_it_dies_with_its_worker(stage: Stage, worker: Running, whom: str) -> None:
    stage.enqueue("hold_isolated")
    (mark,) = stage.wait_marks("start")
    os.kill(mark["parent"] if whom == "process" else worker.pid, signal.SIGKILL)
    killed = time.monotonic()
    wait_until(lambda: not is_alive(mark["pid"]))
    assert time.monotonic() - killed < 10, "its lease lasts 30 s"


def test_a_process_that_is_killed_while_idle_costs_nothing(stage: Stage, worker: Running) -> None:
    first = stage.enqueue("tell", {"words": []})
    stage.wait_state(first, "succeeded")
    pid = stage.starts(first)[0]["pid"]
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(pid))
    job = stage.enqueue("tell", {"words": []})
    assert stage.wait_state(job, "succeeded")["attempt"] == 1


def test_a_memory_limit(stage: Stage, worker: Running) -> None:
    """What asks for more gets MemoryError, with its traceback; what fits is not troubled, before and after."""
    jobs = [stage.enqueue("grow", {"mib": mib}, max_attempts=1) for mib in (50, 400, 60)]
    assert stage.wait_state(jobs[0], "succeeded")["result"] == 50
    assert stage.wait_state(jobs[2], "succeeded")["result"] == 60
    assert stage.wait_state(jobs[1], "failed")["reason"].startswith("MemoryError")
    assert "bytearray" in stage.errors(jobs[1])[0]["traceback"]
    assert worker.events("process_died") == []


@pytest.mark.parametrize("and_then", ["return", "die", "roll back"])
def test_completion_in_its_own_transaction(stage: Stage, worker: Running, and_then: str) -> None:
    """Committed, it counts, whatever comes after; rolled back, neither the effect nor the completion is there."""
    job = stage.enqueue("complete", {"and_then": and_then}, max_attempts=1)
    if and_then == "roll back":
        assert "rolled back" in stage.wait_state(job, "failed")["reason"]
        return
    assert stage.wait_state(job, "succeeded")["attempt"] == 1
    assert stage.query("SELECT job FROM effect") == [(job,)]
    stage.wait_state(stage.enqueue("tell", {"words": []}), "succeeded")
    assert stage.errors(job) == []
    assert len(stage.starts(job)) == 1
    assert worker.stop() == 0


def test_an_embedded_worker_says_what_it_needs(queue: Queue, stage: Stage) -> None:
    """The queue of this test stands in no module: nobody could import it."""

    @queue.task(isolation="process")
    def alone() -> None:
        pass

    job = alone.using().enqueue().id
    run_drained(queue)
    (error,) = stage.errors(job)
    assert "put it at the top of one" in error["message"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"isolation": "thread"}, "isolation='thread' wants"),
        ({"memory_limit": "512MB"}, 'needs isolation="process"'),
        ({"isolation": "process", "memory_limit": 512}, "from 16MB up"),
        ({"isolation": "process", "memory_limit": "512"}, "is not a size"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(TaskError) as caught:
        Queue().task(**options)(lambda: None)  # type: ignore[call-overload]
    assert words in str(caught.value)
