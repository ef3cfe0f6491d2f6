"""Jobs whose task a worker does not know, and jobs whose arguments do not fit."""

from __future__ import annotations

import json
from typing import Any

from pgjobq import Queue, Retry
from worker.stage import Stage, run_drained


def test_an_unknown_task_waits_and_says_for_what(stage: Stage) -> None:
    """Its job is parked in `blocked`, spends no attempt, and tells what it waits for; neighbours are run."""
    worker = stage.worker().ready()
    strange = stage.enqueue("rare")
    known = stage.enqueue("note")
    row = stage.wait_state(strange, "blocked")
    assert row["reason"] == "waits for task:rare"
    assert row["attempt"] == 0
    assert stage.wait_state(known, "succeeded")
    assert worker.wait_event("job_parked")["waits_for"] == "task:rare"
    assert stage.errors(strange) == []
    assert worker.stop() == 0
    assert stage.state(strange) == "blocked"


def test_a_worker_that_knows_the_task_takes_it_beside_one_that_does_not(stage: Stage) -> None:
    """Parked jobs are run, once and as their first attempt, as soon as a worker that knows their task is there."""
    stage.worker().ready()
    jobs = [stage.enqueue("rare") for _ in range(20)]
    for job in jobs:
        stage.wait_state(job, "blocked")
    stage.worker(app="apps.other:queue").ready()
    for job in jobs:
        assert stage.wait_state(job, "succeeded", timeout=20)["attempt"] == 1
        assert len(stage.starts(job)) == 1


def test_both_kinds_of_worker_share_one_queue(stage: Stage) -> None:
    """With both at work, each job ends where it is known, whoever took it first."""
    stage.worker().ready()
    stage.worker(app="apps.other:queue").ready()
    for _ in range(25):
        stage.enqueue("rare")
        stage.enqueue("note_plain")
    stage.wait_all("succeeded", timeout=30)
    assert all(len(stage.starts(job)) == 1 for (job,) in stage.query("SELECT id FROM pgjobq.job"))


def test_a_parked_job_is_taken_at_once_by_an_idle_worker(stage: Stage) -> None:
    """A worker that knows the task and sleeps is woken for it: it does not wait for its next look, a minute on."""
    stage.worker("--poll-interval", "60", app="apps.other:queue").ready()
    stage.worker("--poll-interval", "60", "--concurrency", "50").ready()
    jobs = [stage.enqueue("rare") for _ in range(10)]
    for job in jobs:
        stage.wait_state(job, "succeeded", timeout=15)


def test_a_drain_runs_what_was_parked_for_it(queue: Queue, stage: Stage) -> None:
    """Draining includes jobs that another worker had parked."""
    jobs = stage.enqueue_many("late", 30)
    run_drained(queue)
    assert stage.states() == {"blocked": 30}

    @queue.task
    async def late() -> None:
        pass

    run_drained(queue, concurrency=3)
    assert stage.states() == {"succeeded": 30}
    assert {stage.job(job)["attempt"] for job in jobs} == {1}


# ---------------------------------------------------------------------------------------- arguments


def test_arguments_that_do_not_fit_spend_an_attempt(queue: Queue, stage: Stage) -> None:
    """Rows written by SQL are checked like any others: a WrongArgumentType per attempt, and neighbours go on."""
    good = []

    @queue.task(retry=Retry(max_attempts=2, wait=0))
    async def count(number: int, unit: str = "piece") -> None:
        good.append((number, unit))

    bad = {
        name: stage.enqueue("count", args, max_attempts=2)
        for name, args in {
            "type": {"number": "seven"},
            "unknown": {"number": 1, "colour": "red"},
            "missing": {},
            "null": {"number": None},
        }.items()
    }
    fine = [stage.enqueue("count", {"number": number}) for number in range(5)]
    run_drained(queue)
    assert {stage.state(job) for job in fine} == {"succeeded"}
    assert sorted(good) == [(number, "piece") for number in range(5)]
    for name, job in bad.items():
        assert stage.state(job) == "failed", name
        assert [error["attempt"] for error in stage.errors(job)] == [1, 2], name
        assert {error["kind"] for error in stage.errors(job)} == {"pgjobq.errors.WrongArgumentType"}, name
    message = stage.errors(bad["type"])[0]["message"]
    assert "number" in message
    assert "seven" in message


def test_arguments_too_deep_for_a_parser_hurt_nobody(queue: Queue, stage: Stage) -> None:
    """A payload nested a few thousand levels deep is one job's failure, not the worker's."""

    @queue.task(retry=Retry(max_attempts=1))
    async def note(value: Any = None) -> None:
        pass

    deep = stage.value(
        "SELECT pgjobq.enqueue('note', (%s)::jsonb, max_attempts => 1)",
        '{"value": ' + "[" * 3000 + "]" * 3000 + "}",
    )
    fine = stage.enqueue("note", json.loads('{"value": 1}'))
    run_drained(queue)
    outcomes = dict(stage.query("SELECT job, outcome::text FROM pgjobq.finished"))
    assert outcomes[fine] == "s"
    assert deep in outcomes
