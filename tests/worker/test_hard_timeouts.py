"""Handlers that do not end after their time-out: SIGTERM, then SIGKILL; the culprit pays, its neighbours do not."""

from __future__ import annotations

import pytest

from worker.stage import Running, Stage, wait_until

APP = "apps.stubborn:queue"


def start(stage: Stage, task: str, **options: object) -> tuple[Running, int, int]:
    """A worker that runs such a job, and a neighbour that has but one attempt."""
    worker = stage.worker("--lease", "30", "--concurrency", "5", app=APP).ready()
    neighbour = stage.enqueue("hold", max_attempts=1)
    stage.wait_marks("start")
    job = stage.enqueue(task, **options)
    stage.wait_marks("start", job=job)
    return worker, job, neighbour


@pytest.mark.parametrize("task", ["deaf_thread", "deaf_coroutine"])
def test_a_handler_that_will_not_die_is_left_behind(stage: Stage, task: str) -> None:
    """It is reported, its process takes no more jobs and another one has its place at once; the others are given time,
    then run elsewhere without having spent an attempt; its own attempt is recorded once, when its process is gone."""
    worker, deaf, neighbour = start(stage, task)
    overdue = worker.wait_event("jobs_overdue")
    assert overdue["jobs"] == [deaf]
    retired = worker.wait_event("process_retired")
    assert f"#{deaf} did not end after its time-out" in retired["reason"]
    brief = stage.enqueue("note")
    assert stage.wait_state(brief, "succeeded")["attempt"] == 1
    row = stage.wait_state(deaf, "succeeded")
    assert row["attempt"] == 2
    (error,) = stage.errors(deaf)
    assert (error["attempt"], error["kind"]) == (1, "WorkerDied")
    assert "did not end after its time-out" in error["message"]
    first, again = stage.starts(deaf)
    assert 5 < again["at"] - first["at"] < 20
    stage.open_gate()
    assert stage.wait_state(neighbour, "succeeded")["attempt"] == 2
    assert stage.errors(neighbour) == []
    assert worker.events("process_died") == []
    assert worker.stop() == 0


@pytest.mark.parametrize("task", ["block_loop", "spin"])
def test_sigterm_frees_a_blocked_loop(stage: Stage, task: str) -> None:
    """The blocking handler is interrupted in the midst of its code: a time-out like any other, nobody is killed, and
    its neighbour is not even interrupted."""
    worker, job, neighbour = start(stage, task, max_attempts=1)
    row = stage.wait_state(job, "failed", timeout=20)
    assert row["attempt"] == 1
    assert "TimeoutError" in row["reason"]
    worker.wait_event("process_retired")
    stage.open_gate()
    assert stage.wait_state(neighbour, "succeeded")["attempt"] == 1
    assert stage.wait_state(stage.enqueue("note"), "succeeded")
    assert worker.events("process_died") == []
    assert worker.stop() == 0


def test_a_handler_that_holds_the_gil_is_killed(stage: Stage) -> None:
    """SIGTERM cannot help: SIGKILL 10 s after the time-out. The job's attempts are spent, at the last it has failed;
    the neighbour, which has one attempt in all, succeeds. The death is told with its reason, and counted at the end."""
    worker, job, neighbour = start(stage, "hold_gil", max_attempts=1)
    died = worker.wait_event("process_died", timeout=40)
    assert died["signal"] == "SIGKILL"
    assert set(died["jobs"]) == {job, neighbour}
    assert f"#{job} did not end after its time-out" in died["reason"]
    row = stage.wait_state(job, "failed")
    assert "was killed" in row["reason"]
    stage.open_gate()
    assert stage.wait_state(neighbour, "succeeded")["attempt"] == 2
    wait_until(lambda: len(worker.children()) == 1)
    assert stage.wait_state(stage.enqueue("note"), "succeeded")
    assert worker.stop() == 0
    assert worker.events("worker_stopped")[0]["deaths"] == 1
