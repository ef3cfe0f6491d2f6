"""What operators want of workers that are at work: pauses, and the end of running jobs."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from pgjobq import Queue
from worker.stage import Stage, wait_until


@pytest.fixture
def desk(stage: Stage) -> Iterator[Queue]:
    """An operator's queue, which knows none of the tasks."""
    queue = Queue(stage.dsn)
    yield queue
    queue.close()


def test_a_paused_queue_lets_no_job_start_and_the_others_go_on(stage: Stage, desk: Queue) -> None:
    worker = stage.worker().ready()
    stage.wait_state(stage.enqueue("note", queue="mail"), "succeeded")  # the worker knows the lane
    assert desk.pause(queue="mail", reason="the relay is down", by="ann")
    time.sleep(0.3)  # a notification's way
    held = [stage.enqueue("note", queue="mail") for _ in range(3)]
    stage.wait_state(stage.enqueue("note"), "succeeded")
    assert {stage.state(job) for job in held} == {"ready"}
    assert desk.resume(queue="mail")
    for job in held:
        stage.wait_state(job, "succeeded")
    assert worker.stop() == 0


def test_a_paused_task_is_parked_and_runs_after_the_resume_with_its_attempts_whole(stage: Stage, desk: Queue) -> None:
    worker = stage.worker().ready()
    desk.pause(task="note")
    time.sleep(0.3)
    held = [stage.enqueue("note", max_attempts=1) for _ in range(5)]
    for job in held:
        assert stage.wait_state(job, "blocked")["attempt"] == 0
    stage.wait_state(stage.enqueue("note_plain"), "succeeded")
    assert desk.resume(task="note")
    for job in held:
        assert stage.wait_state(job, "succeeded")["attempt"] == 1
    assert worker.stop() == 0


def test_a_pause_ends_by_itself(stage: Stage, desk: Queue) -> None:
    desk.pause(task="note")
    worker = stage.worker("--poll-only").ready()
    job = stage.enqueue("note")
    stage.wait_state(job, "blocked")
    stage.query("SELECT pgjobq.pause('task', 'note', until => now() + interval '2 s')")
    stage.wait_state(job, "succeeded")
    wait_until(lambda: not stage.query("SELECT FROM pgjobq.paused"))
    assert worker.stop() == 0


def test_who_parks_a_job_after_the_resume_has_not_lost_it(stage: Stage) -> None:
    """A worker that was stopped in between still believes in the pause."""
    job = stage.enqueue("note")
    stage.query(
        """WITH taken AS (DELETE FROM pgjobq.ready RETURNING job, priority, queue)
           INSERT INTO pgjobq.blocked (job, since, priority, queue, waits_for)
           SELECT job, now(), priority, queue, 'paused:note' FROM taken"""
    )
    worker = stage.worker().ready()
    stage.wait_state(job, "succeeded")
    assert worker.stop() == 0


@pytest.mark.parametrize(
    ("app", "task", "flags"),
    [
        ("apps.basic:queue", "hold", ()),
        ("apps.basic:queue", "hold_plain", ()),
        ("apps.basic:queue", "hold", ("--poll-only",)),
        ("apps.isolated:queue", "hold_isolated", ()),
    ],
)
def test_a_running_job_is_cancelled_and_its_neighbour_is_not(
    stage: Stage, desk: Queue, app: str, task: str, flags: tuple[str, ...]
) -> None:
    worker = stage.worker(*flags, app=app).ready()
    job, neighbour = stage.enqueue(task), stage.enqueue(task)
    stage.wait_marks("start", 2)
    began = time.monotonic()
    assert not desk.cancel(job), "it runs"
    assert desk.cancel_running(job, reason="the customer called", by="ann")
    row = stage.wait_state(job, "cancelled")
    assert row["reason"] == "cancelled while it ran: the customer called"
    assert stage.errors(job) == []
    assert time.monotonic() - began < 10
    assert stage.state(neighbour) == "running"
    stage.open_gate()
    stage.wait_state(neighbour, "succeeded")
    wait_until(lambda: not stage.query("SELECT FROM pgjobq.cancel_request"))
    assert [(entry.what, entry.who, entry.jobs) for entry in desk.audit()] == [("cancel", "ann", 1)]
    assert worker.stop() == 0


def test_a_request_outlives_the_attempt_it_was_made_for(stage: Stage, desk: Queue) -> None:
    """The job failed at that moment and waits for its next attempt: it is cancelled there."""
    job = stage.enqueue("fail")
    worker = stage.worker().ready()
    stage.wait_state(job, "scheduled")
    stage.query("INSERT INTO pgjobq.cancel_request VALUES (%s, now(), 'late')", job)
    stage.wait_state(job, "cancelled")
    wait_until(lambda: not stage.query("SELECT FROM pgjobq.cancel_request"))
    assert worker.stop() == 0
