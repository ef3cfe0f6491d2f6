"""The fence: an owner that was taken for dead changes nothing when it wakes."""

from __future__ import annotations

import os
import signal
from uuid import UUID, uuid4

import psycopg
import pytest

from pgjobq.statements import statement_text
from worker.stage import Running, Stage

SHORT = ("--lease", "1.5", "--heartbeat", "0.3")
STEADY = ("--lease", "5", "--heartbeat", "0.5")
"""Of those that must keep their jobs though the machine stands still for a while."""


def freeze(worker: Running, whom: str) -> None:
    """Stop the worker's process, or all of its group."""
    if whom == "group":
        worker.send_group(signal.SIGSTOP)
    else:
        for pid in worker.children():
            os.kill(pid, signal.SIGSTOP)


def thaw(worker: Running) -> None:
    worker.send_group(signal.SIGCONT)


@pytest.mark.parametrize("whom", ["group", "child"])
@pytest.mark.parametrize("task", ["hold", "hold_plain"])
def test_a_worker_that_slept_past_its_lease_changes_nothing(stage: Stage, whom: str, task: str) -> None:
    """Another worker takes its job back and finishes it; when the first one wakes, the finished row stays as it is,
    the first logs lease_lost and goes on working under a new identity."""
    first = stage.worker(*SHORT).ready()
    job = stage.enqueue(task)
    stage.wait_marks("start")
    identity = stage.value("SELECT worker FROM pgjobq.running")
    freeze(first, whom)
    second = stage.worker(*STEADY).ready()
    stage.wait_marks("start", 2)
    stage.open_gate()
    done = stage.wait_state(job, "succeeded")
    assert done["attempt"] == 2
    assert done["worker"] != identity
    assert [(e["attempt"], e["kind"], e["worker"]) for e in stage.errors(job)] == [(1, "WorkerDied", identity)]
    finished = stage.query("SELECT * FROM pgjobq.finished")

    assert second.stop() == 0
    thaw(first)
    lost = first.wait_event("lease_lost")
    assert (lost["job"], lost["attempt"]) == (job, 1)
    assert stage.query("SELECT * FROM pgjobq.finished") == finished
    assert len(stage.errors(job)) == 1

    after = stage.enqueue("note")
    assert stage.wait_state(after, "succeeded")["worker"] not in (identity, done["worker"])
    assert first.stop() == 0
    assert first.events("process_died") == []


@pytest.mark.parametrize("task", ["hold", "hold_plain"])
def test_the_handler_of_a_lost_lease_is_told(stage: Stage, task: str) -> None:
    """It wakes while another one runs its job: `cancelled` is set, and it is interrupted; the other goes on."""
    first = stage.worker(*SHORT).ready()
    job = stage.enqueue(task)
    (mark,) = stage.wait_marks("start")
    freeze(first, "child")
    second = stage.worker(*STEADY).ready()
    stage.wait_marks("start", 2)
    thaw(first)
    (out,) = stage.wait_marks("out")
    assert (out["pid"], out["cancelled"]) == (mark["pid"], True)
    assert first.wait_event("lease_lost")["job"] == job
    stage.open_gate()
    assert stage.wait_state(job, "succeeded")["attempt"] == 2
    assert [first.stop(), second.stop()] == [0, 0]


def test_jobs_claimed_but_not_begun_are_not_begun_by_the_woken_worker(stage: Stage) -> None:
    """What a frozen worker had only claimed is run elsewhere and not a second time by itself."""
    first = stage.worker(*SHORT, "--concurrency", "1").ready()
    stage.enqueue_many("note", 200)
    held = stage.enqueue("hold")
    stage.wait_marks("start", job=held)
    stage.enqueue_many("note", 50)
    freeze(first, "group")
    second = stage.worker(*SHORT).ready()
    stage.wait_marks("start", 2, job=held)
    stage.open_gate()
    stage.wait_all("succeeded")
    thaw(first)
    first.wait_event("lease_lost")
    stage.wait_state(stage.enqueue("note"), "succeeded")
    starts = [mark["job"] for mark in stage.marks("start") if mark["job"] != held]
    assert len(starts) == len(set(starts)) == 251
    assert second.stop() == 0


def test_a_frozen_child_keeps_nothing_from_its_own_supervisor(stage: Stage) -> None:
    """A child that is stopped loses its lease to its sibling, and the log tells that it was taken for dead."""
    worker = stage.worker(*STEADY, "--processes", "2", "--concurrency", "1").ready()
    job = stage.enqueue("hold")
    (mark,) = stage.wait_marks("start")
    os.kill(mark["pid"], signal.SIGSTOP)
    first, second = stage.wait_marks("start", 2, job)
    assert first["pid"] != second["pid"]
    stage.open_gate()
    assert stage.wait_state(job, "succeeded")["attempt"] == 2
    assert worker.wait_event("jobs_taken_back")["jobs"] == 1
    os.kill(mark["pid"], signal.SIGCONT)
    worker.wait_event("lease_lost")
    assert worker.stop() == 0


# ---------------------------------------------------------------------------------------- the same on bare SQL

CONDITION = "r.attempt = x.attempt AND r.worker = $3::uuid"


def play_two_owners(dsn: str, complete: str) -> list[tuple[int, UUID]]:
    """One owner is declared dead, a second holds the job as attempt 2; then the first reports its success with
    `complete`. Gives what it settled."""
    sleeper, owner = uuid4(), uuid4()
    with psycopg.connect(dsn, autocommit=True) as conn:
        row = conn.execute("SELECT pgjobq.enqueue('note')").fetchone()
        assert row is not None
        (job,) = row
        conn.execute("DELETE FROM pgjobq.ready")
        conn.execute("INSERT INTO pgjobq.running VALUES (%s, now(), %s, 2, 0)", (job, owner))
        with psycopg.RawCursor(conn) as cursor:
            cursor.execute(complete, (f"{{{job}}}", "{1}", sleeper))
        return conn.execute("SELECT attempt, worker FROM pgjobq.finished").fetchall()


def test_complete_settles_nothing_for_a_former_owner(dsn: str) -> None:
    """The statement `complete` with a stale attempt and worker moves no row."""
    assert play_two_owners(dsn, statement_text("complete", "pgjobq")) == []


def test_the_check_above_can_fail(dsn: str) -> None:
    """Without the condition on attempt and worker the former owner does finish the job, under a false flag."""
    guarded = statement_text("complete", "pgjobq")
    assert CONDITION in guarded
    unguarded = guarded.replace(CONDITION, "x.attempt IS NOT NULL AND $3::uuid IS NOT NULL")
    assert len(play_two_owners(dsn, unguarded)) == 1
