"""Processes that are replaced while all is well: after so many jobs, or when they use too much memory."""

from __future__ import annotations

import psycopg
import pytest

from worker.stage import Stage, wait_until


def starts_by_process(stage: Stage) -> dict[int, list[float]]:
    """When each process started its jobs, the processes in order."""
    found: dict[int, list[float]] = {}
    for mark in stage.marks("start"):
        found.setdefault(mark["pid"], []).append(mark["at"])
    return found


@pytest.mark.parametrize(("most", "jobs"), [(1, 4), (10, 60)])
def test_no_process_runs_more_jobs_than_it_may(stage: Stage, most: int, jobs: int) -> None:
    """Each ends after exactly so many (the last may have run fewer), and no job is lost, or run twice, or spends an
    attempt."""
    worker = stage.worker("--max-jobs-per-process", str(most), "--concurrency", "3").ready()
    stage.enqueue_many("nap", jobs, {"seconds": 0.1})
    stage.wait_all("succeeded")
    counts = [len(starts) for starts in starts_by_process(stage).values()]
    assert sum(counts) == jobs
    assert max(counts) == most
    assert stage.value("SELECT max(attempt) FROM pgjobq.finished") == 1
    assert stage.query("SELECT * FROM pgjobq.attempt_error") == []
    assert worker.events("process_died") == []
    assert len(worker.events("process_retired")) >= jobs // most - 1
    wait_until(lambda: len(worker.children()) == 1)
    assert worker.stop() == 0
    stopped = worker.events("worker_stopped")[0]
    assert (stopped["succeeded"], stopped["deaths"]) == (jobs, 0)


def test_the_successor_is_there_before_the_old_process_ends(stage: Stage) -> None:
    """It is started while the old one still runs its last job, and starts jobs before this one has ended: no gap in
    service."""
    worker = stage.worker("--max-jobs-per-process", "10", "--concurrency", "1").ready()
    with psycopg.connect(stage.dsn) as conn:
        for _ in range(9):
            stage.enqueue_on(conn, "note")
        last, after = stage.enqueue_on(conn, "hold"), stage.enqueue_on(conn, "note")
    (held,) = stage.wait_marks("start", job=last)
    started = worker.wait_event("process_started")
    (other,) = stage.wait_marks("start", job=after)
    assert other["pid"] != held["pid"]
    assert {held["pid"], other["pid"]} == {worker.wait_event("process_retired")["pid"], started["pid"]}
    assert stage.state(last) == "running", "it waits for the gate"
    stage.open_gate()
    stage.wait_all("succeeded")
    wait_until(lambda: worker.children() == [started["pid"]])
    assert worker.stop() == 0


def test_a_drain_of_so_many_jobs_in_processes_of_fewer(stage: Stage) -> None:
    """Both limits hold."""
    stage.enqueue_many("nap", 30, {"seconds": 0.01})
    worker = stage.drain("--max-jobs", "25", "--max-jobs-per-process", "10")
    assert stage.states() == {"succeeded": 25, "ready": 5}
    assert sorted(len(starts) for starts in starts_by_process(stage).values()) == [5, 10, 10]
    ended = worker.events("drain_ended")[0]
    assert (ended["reason"], ended["succeeded"], ended["deaths"]) == ("max_jobs", 25, 0)


def test_a_process_with_too_much_memory_is_replaced(stage: Stage) -> None:
    """Its running jobs end in it, as their first attempt; the next job has another process. It is no death."""
    worker = stage.worker("--max-memory", "250MB", app="apps.hoard:queue").ready()
    held = stage.enqueue("hold")
    stage.wait_marks("start")
    leak = stage.enqueue("leak", {"mib": 230})
    retired = worker.wait_event("process_retired")
    assert "more than its --max-memory of 250MB" in retired["reason"]
    after = stage.enqueue("note")
    stage.wait_state(after, "succeeded")
    assert stage.starts(after)[0]["pid"] != retired["pid"]
    assert stage.starts(held)[0]["pid"] == retired["pid"]
    stage.open_gate()
    for job in (held, leak):
        assert stage.wait_state(job, "succeeded")["attempt"] == 1
    wait_until(lambda: len(worker.children()) == 1)
    assert worker.events("process_died") == []
    assert worker.stop() == 0


def test_a_limit_below_what_the_app_needs_is_refused(stage: Stage) -> None:
    """Such a worker would replace its processes for ever."""
    worker = stage.worker("--max-memory", "17MB", app="apps.hoard:queue")
    assert worker.wait() == 2
    assert "the app alone uses" in worker.text
    assert "more than --max-memory 17MB; raise it" in worker.text


def test_a_process_that_eats_memory_is_killed(stage: Stage) -> None:
    """At twice its limit; the attempts say memory, at the last the job has failed, and the worker goes on."""
    worker = stage.worker("--max-memory", "100MB", app="apps.hoard:queue").ready()
    job = stage.enqueue("devour", max_attempts=2)
    row = stage.wait_state(job, "failed")
    assert row["attempt"] == 2
    assert [error["message"].startswith("memory: ") for error in stage.errors(job)] == [True, True]
    died = worker.wait_event("process_died", 2)
    assert "more than twice its --max-memory of 100MB" in died["reason"]
    assert stage.wait_state(stage.enqueue("note"), "succeeded")
    assert worker.stop() == 0
    assert worker.events("worker_stopped")[0]["deaths"] == 2
