"""Steps under workers that die, freeze, and run handlers in processes of their own."""

from __future__ import annotations

import signal

import pytest

from pgjobq import Queue
from worker.stage import Stage, wait_until

APP = "apps.durable:queue"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("task", ["dies_between", "adies_between"])
def test_no_step_runs_again_after_its_memory_is_committed(stage: Stage, task: str) -> None:
    """The worker's process is killed behind each of four steps."""
    job = stage.enqueue(task, {"steps": 4})
    worker = stage.worker(app=APP).ready()
    row = stage.wait_state(job, "succeeded", timeout=120)
    assert row["attempt"] == 5
    assert row["result"] == [f"step {n}" for n in range(4)]
    assert [mark["name"] for mark in stage.marks("step")] == row["result"]
    assert stage.query("SELECT name, attempt FROM pgjobq.step ORDER BY name") == [
        (f"step {n}", n + 1) for n in range(4)
    ]
    assert worker.stop() == 0


@pytest.mark.timeout(300)
def test_effects_of_a_step_are_exactly_once(stage: Stage) -> None:
    """Killed before and behind each commit: what was booked and its memory are both there or both not."""
    stage.query("CREATE TABLE effect (number int)")
    job = stage.enqueue("books", {"times": 3})
    worker = stage.worker(app=APP).ready()
    row = stage.wait_state(job, "succeeded", timeout=120)
    assert row["attempt"] == 7
    assert stage.query("SELECT number FROM effect ORDER BY 1") == [(0,), (1,), (2,)]
    assert worker.stop() == 0


def test_a_frozen_owner_takes_no_step(stage: Stage) -> None:
    """A worker stopped past its lease, whose job went on elsewhere, wakes up and comes to its step: it is refused."""
    job = stage.enqueue("frozen")
    flags = ("--lease", "2s", "--heartbeat", "500ms", "--concurrency", "1")
    first = stage.worker(*flags, app=APP).ready()
    stage.wait_marks("start")
    first.send_group(signal.SIGSTOP)
    second = stage.worker(*flags, app=APP).ready()
    stage.wait_state(job, "succeeded")
    stage.open_gate()
    first.send_group(signal.SIGCONT)
    stage.wait_marks("refused")
    assert stage.query("SELECT name, attempt, value FROM pgjobq.step") == [("charge", 2, "charge 2")]
    assert stage.job(job)["attempt"] == 2
    first.stop()
    assert second.stop() == 0


def test_steps_are_kept_where_the_worker_works(stage: Stage, empty_dsn: str) -> None:
    """`--dsn` names the database, and the application's own calls would go elsewhere: steps go with the job."""
    flags = ("--dsn", stage.dsn)
    worker = stage.worker(*flags, app=APP, dsn=empty_dsn).ready()
    jobs = [stage.enqueue("dies_isolated"), stage.enqueue("adies_between", {"steps": 1})]
    for job in jobs:
        assert stage.wait_state(job, "succeeded")["attempt"] == 2
    assert stage.value("SELECT count(*) FROM pgjobq.step") == 2
    assert worker.stop() == 0


def test_isolated_handlers(stage: Stage, queue: Queue) -> None:
    """Steps, sleeps, waits, progress: in a process of its own as anywhere, with one more attempt after each."""
    job = stage.enqueue("isolated", {"order": 7}, max_attempts=2)
    died = stage.enqueue("dies_isolated")
    worker = stage.worker(app=APP).ready()
    stage.wait_state(job, "blocked")
    wait_until(lambda: str(queue.steps(job)[-1].event) == "order:7:paid")
    assert queue.emit("order:7:paid", {"amount": 12})
    row = stage.wait_state(job, "succeeded")
    assert row["result"] == {"charged": "charge 7", "paid": {"amount": 12}}
    assert row["attempt"] == 4, "a sleep and a wait spend no attempt, the failure spends one"
    assert stage.wait_state(died, "succeeded")["result"] == "charge"
    assert sorted(mark["name"] for mark in stage.marks("step")) == ["charge", "charge 7"]
    found = queue.get(job)
    assert found is not None
    assert found.progress is not None
    assert (found.progress.done, found.progress.total, found.progress.attempt) == (2.0, 2.0, 4)
    assert worker.stop() == 0
