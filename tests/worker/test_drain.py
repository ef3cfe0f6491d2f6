"""--drain: run what is there and end, for cron and serverless deployments."""

from __future__ import annotations

import signal
import time

import pytest

from worker.stage import Stage, wait_until


def test_an_empty_drain_ends_at_once(stage: Stage) -> None:
    """Nothing there: it ends with 0, as fast as Python starts."""
    worker = stage.worker("--drain")
    assert worker.wait() == 0
    took = time.monotonic() - worker.started
    (ended,) = worker.events("drain_ended")
    print(f"an empty drain took {took:.2f} s, {ended['seconds']:.2f} s of them in the supervisor")
    assert ended["reason"] == "nothing left"
    assert took < 10
    assert stage.value("SELECT count(*) FROM pgjobq.worker") == 0


def test_a_drain_that_did_all_exits_0(stage: Stage) -> None:
    """All that is ready is run; what comes back at once (a retry without delay) too."""
    stage.enqueue_many("note", 300)
    stage.enqueue("discard")
    worker = stage.drain("--concurrency", "4")
    assert worker.popen.returncode == 0, worker.text
    assert stage.states() == {"succeeded": 300, "cancelled": 1}
    (ended,) = worker.events("drain_ended")
    assert (ended["succeeded"], ended["failed"]) == (300, 0)


def test_a_drain_with_a_job_failed_for_good_exits_3(stage: Stage) -> None:
    """One dead letter is told by the exit code; a mere retry is not."""
    stage.enqueue("fail", max_attempts=1)
    stage.enqueue_many("note", 10)
    worker = stage.drain()
    assert worker.popen.returncode == 3, worker.text
    assert stage.states() == {"succeeded": 10, "failed": 1}
    stage.enqueue("fail_and_wait")
    assert stage.drain().popen.returncode == 0
    assert stage.states() == {"succeeded": 10, "failed": 1, "scheduled": 1}


def test_a_drain_promotes_what_is_due(stage: Stage) -> None:
    """Due jobs are run although nobody else is alive to promote them; later ones are left."""
    due = [stage.enqueue("note", delay=0.01) for _ in range(5)]
    later = stage.enqueue("note", delay=3600)
    time.sleep(0.05)  # until they are due
    assert stage.drain().popen.returncode == 0
    assert {stage.state(job) for job in due} == {"succeeded"}
    assert stage.state(later) == "scheduled"


def test_a_drain_takes_back_what_dead_workers_hold(stage: Stage) -> None:
    """Jobs of a worker that died long ago are run, with the attempt counted."""
    dead = stage.worker("--lease", "1", "--heartbeat", "0.3").ready()
    job = stage.enqueue("hold")
    stage.wait_marks("start")
    dead.send_group(signal.SIGKILL)
    dead.wait()
    stage.open_gate()
    wait_until(lambda: stage.value("SELECT bool_and(expires_at < now() - interval '1.5 s') FROM pgjobq.worker"))
    worker = stage.drain("--lease", "1", "--heartbeat", "0.3")
    assert worker.popen.returncode == 0
    assert stage.job(job)["state"] == "succeeded", worker.text
    assert stage.job(job)["attempt"] == 2
    assert [error["attempt"] for error in stage.errors(job)] == [1]


@pytest.mark.parametrize(("most", "processes"), [(1, 1), (7, 1), (7, 2), (1, 2)])
def test_max_jobs_is_exact(stage: Stage, most: int, processes: int) -> None:
    """--max-jobs N: N jobs are run, no more and no less, over all processes together."""
    stage.enqueue_many("note", 40)
    worker = stage.drain("--max-jobs", str(most), "--processes", str(processes))
    assert worker.popen.returncode == 0, worker.text
    assert stage.states() == {"succeeded": most, "ready": 40 - most}
    assert worker.events("process_died") == []
    assert worker.events("drain_ended")[0]["reason"] == "max_jobs"


def test_max_jobs_counts_parked_jobs_too(stage: Stage) -> None:
    """Jobs that were parked for this app are within the limit."""
    stage.enqueue_many("rare", 20)
    stage.drain()
    assert stage.states() == {"blocked": 20}
    stage.drain("--max-jobs", "3", app="apps.other:queue")
    assert stage.states() == {"blocked": 17, "succeeded": 3}


def test_max_seconds_ends_a_drain(stage: Stage) -> None:
    """After --max-seconds no further job is started; those that run are waited for; exit 0."""
    stage.enqueue_many("nap", 400, {"seconds": 0.2})
    for most in (2, 10, 30):
        worker = stage.drain("--max-seconds", str(most), "--concurrency", "2")
        assert worker.popen.returncode == 0, worker.text
        (ended,) = worker.events("drain_ended")
        assert ended["reason"] == "max_seconds"
        assert most - 0.1 < ended["seconds"] < most + 13
        if stage.marks("start"):
            break  # else the machine was so busy that the time was over before a process was up
    states = stage.states()
    assert set(states) == {"ready", "succeeded"}
    assert {attempt for (attempt,) in stage.query("SELECT attempt FROM pgjobq.ready")} == {0}
    assert len(stage.marks("start")) == len(stage.marks("end")) == states["succeeded"]


def test_two_processes_drain_together(stage: Stage) -> None:
    """--processes 2: both take part, and the drain ends when both have nothing left."""
    stage.enqueue_many("nap", 120, {"seconds": 0.05})
    worker = stage.drain("--processes", "2", "--concurrency", "2")
    assert worker.popen.returncode == 0
    assert stage.states() == {"succeeded": 120}
    by_pid = {mark["pid"] for mark in stage.marks("start")}
    assert len(by_pid) == 2


def test_drains_one_after_the_other_miss_nothing(stage: Stage) -> None:
    """Jobs that become due while a drain starts or ends are run by it or by the next: none is lost or left ready."""
    for _ in range(4):
        for number in range(8):
            stage.enqueue("note", delay=0.05 * number)
        assert stage.drain().popen.returncode == 0
        assert set(stage.states()) <= {"succeeded", "scheduled"}
    time.sleep(0.4)  # until the last ones are due
    stage.drain()
    assert stage.states() == {"succeeded": 32}
