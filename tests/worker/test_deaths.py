"""Deaths: of the supervisor, of a process, of both; nothing is lost and nothing completes twice."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from datetime import datetime

import pytest

from worker.stage import Stage, is_alive, wait_until

SHORT = ("--lease", "1.5", "--heartbeat", "0.3")


def test_the_processes_die_with_their_supervisor(stage: Stage) -> None:
    """kill -9 of the supervisor: its processes are gone within 2 s on a machine that does nothing else, whatever they
    do, since their leases are."""
    worker = stage.worker("--processes", "2").ready()
    stage.enqueue("sleep_in_c", {"seconds": 60})
    stage.enqueue("hold_gil", {"seconds": 60})
    stage.wait_marks("start", 2)
    children = worker.children()
    assert len(children) == 2
    worker.send(signal.SIGKILL)
    killed = time.monotonic()
    wait_until(lambda: not any(is_alive(pid) for pid in children))
    assert time.monotonic() - killed < 10, "their jobs last a minute, and their leases half of it"


@pytest.mark.parametrize("task", ["die_once", "leave_once"])
def test_a_process_that_dies_is_reported_and_replaced(stage: Stage, task: str) -> None:
    """The supervisor reports it with its signal or exit code and its jobs, takes these back at once with the attempt
    counted, and starts another process."""
    worker = stage.worker("--lease", "60").ready()
    held = stage.enqueue("hold")
    stage.wait_marks("start")
    job = stage.enqueue(task)
    died = worker.wait_event("process_died")
    how = {"die_once": ("SIGKILL", None), "leave_once": (None, 7)}[task]
    assert (died["signal"], died["exit_code"]) == how
    assert set(died["jobs"]) == {held, job}
    again = worker.wait_event("process_started")
    assert again["restart"] is True
    assert again["pid"] != died["pid"]
    row = stage.wait_state(job, "succeeded", timeout=20)
    assert row["attempt"] == 2
    (error,) = stage.errors(job)
    assert (error["attempt"], error["kind"]) == (1, "WorkerDied")
    assert {"die_once": "SIGKILL", "leave_once": "exit code 7"}[task] in error["message"]
    stage.open_gate()
    assert stage.wait_state(held, "succeeded")["attempt"] == 2
    assert len(stage.starts(held)) == 2
    assert worker.stop() == 0


def test_what_was_only_claimed_spends_no_attempt(stage: Stage) -> None:
    """Jobs that the dead process had claimed and not begun go back with their attempt."""
    worker = stage.worker("--concurrency", "1", "--lease", "60").ready()
    stage.enqueue_many("nap", 150, {"seconds": 0.001})
    killer = stage.enqueue("die_once")
    stage.enqueue_many("nap", 150, {"seconds": 0.001})
    worker.wait_event("process_died")
    stage.wait_all("succeeded")
    assert stage.job(killer)["attempt"] == 2
    errors = stage.query("SELECT job, attempt, kind FROM pgjobq.attempt_error")
    assert (killer, 1, "WorkerDied") in errors
    for job, attempt, _ in errors:  # only what had really been started may have spent an attempt
        assert len(stage.starts(job)) == 2
        assert attempt == 1
    more = "SELECT job FROM pgjobq.finished WHERE attempt > 1"
    assert {job for (job,) in stage.query(more)} == {job for job, _, _ in errors}


def test_a_job_that_kills_its_process_fails_in_the_end(stage: Stage) -> None:
    """A poison pill is started exactly max_attempts times, then it is failed, and others have been run meanwhile."""
    worker = stage.worker("--lease", "60").ready()
    job = stage.enqueue("die", max_attempts=3)
    row = stage.wait_state(job, "failed")
    assert row["attempt"] == 3
    assert len(stage.starts(job)) == 3
    assert [error["kind"] for error in stage.errors(job)] == ["WorkerDied"] * 3
    assert "SIGKILL" in row["reason"]
    assert stage.wait_state(stage.enqueue("note"), "succeeded")
    assert len(worker.events("process_died")) == 3
    assert worker.stop() == 0


def test_a_poison_pill_fails_even_when_it_kills_whole_workers(stage: Stage) -> None:
    """Where nobody survives to report (supervisor killed too), the attempts are counted all the same."""
    job = stage.enqueue("hold", max_attempts=2)
    for number in (1, 2):
        worker = stage.worker(*SHORT).ready()
        stage.wait_marks("start", number, job)
        worker.send_group(signal.SIGKILL)
        worker.wait()
    stage.worker(*SHORT).ready()
    assert stage.wait_state(job, "failed")["attempt"] == 2
    assert len(stage.starts(job)) == 2


def test_a_poison_pill_fails_when_only_drains_run_it(stage: Stage) -> None:
    """Cron deployments: each drain takes back what the last one left, with the attempt counted."""
    job = stage.enqueue("hold", max_attempts=2)
    for number in (1, 2):
        worker = stage.worker("--drain", *SHORT)
        stage.wait_marks("start", number, job)
        worker.send_group(signal.SIGKILL)
        worker.wait()
        wait_until(lambda: stage.value("SELECT bool_and(expires_at < now() - interval '1.6 s') FROM pgjobq.worker"))
    last = stage.drain(*SHORT)
    row = stage.job(job)
    assert (row["state"], row["attempt"]) == ("failed", 2), last.text
    assert len(stage.starts(job)) == 2


def test_a_fork_left_behind_does_not_hold_up_the_supervisor(stage: Stage) -> None:
    """A handler's fork survives the process and holds its descriptors: the death is dealt with all the same."""
    worker = stage.worker("--lease", "60").ready()
    job = stage.enqueue("fork_and_die_once")
    forked = stage.wait_marks("forked")[0]["child"]
    try:
        assert stage.wait_state(job, "succeeded", timeout=15)["attempt"] == 2
        assert worker.stop() == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(forked, signal.SIGKILL)


def test_a_storm_of_kills_loses_nothing_and_completes_nothing_twice(stage: Stage) -> None:
    """600 jobs, two workers, ten kill -9 of processes and of whole workers: every job succeeds once, and each start
    beyond the first one is explained by an attempt that a death spent."""
    workers = [stage.worker(*SHORT, "--processes", "2").ready() for _ in range(2)]
    jobs = stage.enqueue_many("nap", 600, {"seconds": 0.03})
    for number in range(10):
        seen = len(stage.marks("end"))
        stage.wait_marks("end", min(seen + 25, 590))
        victim = workers[number % 2]
        if number % 3 == 2:
            victim.send_group(signal.SIGKILL)
            workers[number % 2] = stage.worker(*SHORT, "--processes", "2").ready()
        elif children := victim.children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(children[number % len(children)], signal.SIGKILL)
    stage.wait_all("succeeded")
    assert stage.value("SELECT count(*) FROM pgjobq.finished") == len(jobs)
    errors = stage.query("SELECT job, count(*) FROM pgjobq.attempt_error GROUP BY 1")
    spent = dict(errors)
    starts: dict[int, int] = {}
    for mark in stage.marks("start"):
        starts[mark["job"]] = starts.get(mark["job"], 0) + 1
    assert set(starts) == set(jobs)
    assert all(count <= 1 + spent.get(job, 0) for job, count in starts.items()), (starts, spent)
    attempts = dict(stage.query("SELECT job, attempt FROM pgjobq.finished"))
    assert all(attempts[job] == 1 + spent.get(job, 0) for job in jobs)


def test_processes_that_keep_dying_are_restarted_ever_more_slowly(stage: Stage) -> None:
    """After 0.1, 0.2, 0.4, 0.8 s; each death is told, and all are counted at the end."""
    worker = stage.worker("--lease", "60").ready()
    told: list[float] = []
    for number in range(1, 5):
        wait_until(lambda: len(worker.children()) == 1)
        os.kill(worker.children()[0], signal.SIGKILL)
        died = worker.wait_event("process_died", number)
        started = worker.wait_event("process_started", number)
        at = [datetime.fromisoformat(event["time"]) for event in (died, started)]
        told.append((at[1] - at[0]).total_seconds())
    for pause, least in zip(told, (0.1, 0.2, 0.4, 0.8), strict=True):
        assert pause > least * 0.9
    assert stage.wait_state(stage.enqueue("note"), "succeeded")
    assert worker.stop() == 0
    stopped = worker.events("worker_stopped")[0]
    assert stopped["deaths"] == 4
    assert "4 process deaths" in stopped["message"]


def test_a_drain_whose_job_fails_by_a_death_says_so(stage: Stage) -> None:
    """Exit code 3: the job had no attempt left when its process died, and others have been run."""
    job = stage.enqueue("die", max_attempts=1)
    other = stage.enqueue("note")
    worker = stage.worker("--drain", "--lease", "60")
    assert worker.wait() == 3
    assert (stage.state(job), stage.state(other)) == ("failed", "succeeded")
    ended = worker.events("drain_ended")[0]
    assert (ended["failed"], ended["deaths"]) == (1, 1)


@pytest.mark.parametrize("whom", ["child", "both"])
def test_a_kill_while_idle_costs_nothing(stage: Stage, whom: str) -> None:
    """No job is touched; the process is replaced, or another worker simply goes on."""
    worker = stage.worker(*SHORT).ready()
    wait_until(lambda: stage.value("SELECT count(*) FROM pgjobq.worker") == 1)
    if whom == "child":
        os.kill(worker.children()[0], signal.SIGKILL)
        assert worker.wait_event("process_died")["jobs"] == []
    else:
        worker.send_group(signal.SIGKILL)
        worker.wait()
        stage.worker(*SHORT).ready()
    job = stage.enqueue("note")
    assert stage.wait_state(job, "succeeded")["attempt"] == 1
    wait_until(lambda: stage.value("SELECT count(*) FROM pgjobq.worker") == 1)
