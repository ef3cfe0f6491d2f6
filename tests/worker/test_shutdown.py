"""SIGTERM and SIGINT: running jobs may finish, nothing is lost, and a second signal hurries."""

from __future__ import annotations

import os
import signal
import time

import pytest

from worker.stage import Running, Stage, is_alive, wait_until

BOTH = [signal.SIGTERM, signal.SIGINT]
AGAIN = """
SELECT attempt - spared FROM pgjobq.ready WHERE job = %s
UNION ALL SELECT attempt - spared FROM pgjobq.scheduled WHERE job = %s
"""


def spent(stage: Stage, job: int) -> int:
    """Attempts of its budget that a waiting job has spent."""
    return int(stage.value(AGAIN, job, job))


@pytest.mark.parametrize("number", BOTH)
def test_running_jobs_finish_within_the_grace(stage: Stage, number: signal.Signals) -> None:
    """No further job is taken, the running ones are waited for, and the exit code is 0."""
    worker = stage.worker().ready()
    jobs = [stage.enqueue(task) for task in ("hold", "hold_plain")]
    stage.wait_marks("start", 2)
    worker.send(number)
    began = worker.wait_event("shutdown_began")
    assert (began["reason"], began["running"]) == (number.name, 2)
    late = stage.enqueue("note")
    stage.open_gate()
    assert worker.wait() == 0
    assert [stage.job(job)["state"] for job in jobs] == ["succeeded"] * 2
    assert stage.state(late) == "ready"
    assert stage.errors(jobs[0]) == []
    assert stage.value("SELECT count(*) FROM pgjobq.worker") == 0
    assert len(worker.events("worker_stopped")) == 1


@pytest.mark.parametrize("processes", [1, 3])
def test_no_job_starts_once_the_log_says_that_it_stops(stage: Stage, processes: int) -> None:
    """However many are waiting, and whoever is just claiming some."""
    worker = stage.worker("--processes", str(processes), "--concurrency", "4", "--log-level", "debug").ready()
    stage.enqueue_many("nap", 5_000, {"seconds": 0.02})
    worker.wait_event("job_started", 200)
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    told = [event["event"] for event in worker.events()]
    began = told.index("shutdown_began")
    assert "job_started" in told[:began]
    assert "job_started" not in told[began:]
    assert stage.states()["ready"] > 0


def test_what_has_not_begun_goes_back(stage: Stage) -> None:
    """Jobs claimed ahead return to their queue as if they had never been claimed."""
    worker = stage.worker("--concurrency", "1").ready()
    stage.enqueue_many("note", 300)
    stage.wait_all("succeeded")
    held = stage.enqueue("hold")
    stage.enqueue_many("nap", 100, {"seconds": 0.01})
    stage.wait_marks("start", job=held)
    worker.send(signal.SIGTERM)
    wait_until(lambda: stage.states().get("ready") == 100)
    stage.open_gate()
    assert worker.wait() == 0
    assert stage.state(held) == "succeeded"
    assert stage.states() == {"succeeded": 301, "ready": 100}
    assert {attempt for (attempt,) in stage.query("SELECT attempt FROM pgjobq.ready")} == {0}
    assert stage.marks("start")[-1]["job"] == held


@pytest.mark.parametrize("number", BOTH)
@pytest.mark.parametrize("group", [False, True], ids=["alone", "group"])
def test_a_second_signal_hurries(stage: Stage, number: signal.Signals, group: bool) -> None:
    """It cancels coroutines and interrupts plain handlers; their jobs are ready again with their budget spared. To
    the whole group of the terminal or to the supervisor alone, it is the same."""
    worker = stage.worker("--grace", "600").ready()
    jobs = [stage.enqueue(task, max_attempts=1) for task in ("hold", "hold_plain")]
    stage.wait_marks("start", 2)
    send = worker.send_group if group else worker.send
    send(number)
    worker.wait_event("shutdown_began")
    send(number)
    worker.wait_event("shutdown_hurried")
    assert worker.wait() == 0
    out = {mark["job"]: mark for mark in stage.marks("out")}
    assert [out[job]["by"] for job in jobs] == ["CancelledError", "Interruption"]
    assert [out[job]["cancelled"] for job in jobs] == [True, True]
    for job in jobs:
        assert stage.state(job) in ("ready", "scheduled")
        assert spent(stage, job) == 0
        assert stage.errors(job) == []
    assert worker.events("process_died") == []
    stage.open_gate()
    assert stage.drain().popen.returncode == 0
    assert [stage.job(job)["state"] for job in jobs] == ["succeeded"] * 2


def test_the_end_of_the_grace_hurries(stage: Stage) -> None:
    """One signal and a grace of 0.5 s: the same as a second signal."""
    worker = stage.worker("--grace", "0.5").ready()
    jobs = [stage.enqueue(task, max_attempts=1) for task in ("hold", "hold_plain")]
    stage.wait_marks("start", 2)
    worker.send(signal.SIGTERM)
    assert worker.wait(30) == 0
    assert worker.events("shutdown_hurried")
    for job in jobs:
        assert stage.state(job) in ("ready", "scheduled")
        assert spent(stage, job) == 0


def test_a_handler_that_cannot_be_interrupted_does_not_keep_the_worker(stage: Stage) -> None:
    """It sleeps in C code for a minute: the worker ends within seconds, the job is there again at once and its budget
    is spared, for it was the shutdown that ended it."""
    worker = stage.worker("--grace", "0.2", "--lease", "60").ready()
    job = stage.enqueue("sleep_in_c", {"seconds": 60})
    other = stage.enqueue("hold")
    stage.wait_marks("start", 2)
    worker.send(signal.SIGTERM)
    asked = time.monotonic()
    assert worker.wait(40) == 0
    print(f"ended {time.monotonic() - asked:.1f} s after the signal")
    assert stage.state(other) in ("ready", "scheduled")
    assert stage.state(job) in ("ready", "scheduled"), "it waits for a lease to run out although its worker has gone"
    assert spent(stage, job) == 0


def test_a_loop_that_is_blocked_does_not_keep_the_worker(stage: Stage) -> None:
    """The event loop stands still, so that nobody hears the orders: the process is killed, the job taken back."""
    worker = stage.worker("--grace", "0.2", "--lease", "60").ready()
    job = stage.enqueue("block_loop", {"seconds": 60})
    stage.wait_marks("start")
    worker.send(signal.SIGTERM)
    worker.wait(40)
    assert stage.state(job) in ("ready", "scheduled")
    assert not any(is_alive(mark["pid"]) for mark in stage.marks("start"))


def test_a_signal_to_the_whole_group_behaves_the_same(stage: Stage) -> None:
    """Ctrl-C in a terminal reaches every process: jobs still finish, exit 0, and no process dies of it."""
    worker = stage.worker("--processes", "2").ready()
    jobs = [stage.enqueue(task) for task in ("hold", "hold_plain")]
    stage.wait_marks("start", 2)
    worker.send_group(signal.SIGINT)
    worker.wait_event("shutdown_began")
    stage.open_gate()
    assert worker.wait() == 0
    assert [stage.job(job)["state"] for job in jobs] == ["succeeded"] * 2
    assert worker.events("process_died") == []
    assert "Traceback" not in worker.text


def start_program(stage: Stage) -> tuple[Running, int, dict[str, object]]:
    worker = stage.worker().ready()
    job = stage.enqueue("run_program")
    (mark,) = stage.wait_marks("start")
    return worker, job, mark


def test_a_program_that_a_job_starts_is_an_ordinary_one(stage: Stage) -> None:
    """It ignores no signal that programs do not usually ignore, inherits no descriptor of the worker's, and a SIGTERM
    to the supervisor does not reach it: the job finishes within the grace."""
    worker, job, mark = start_program(stage)
    ignored = int(str(mark["ignored"]), 16)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        assert not ignored >> (number - 1) & 1, f"{number.name} is ignored in what a job starts"
    assert mark["descriptors"] == 3
    worker.send(signal.SIGTERM)
    worker.wait_event("shutdown_began")
    assert is_alive(int(str(mark["program"])))
    stage.open_gate()
    assert worker.wait() == 0
    assert stage.state(job) == "succeeded"
    assert stage.marks("end")[0]["code"] is None


def test_a_signal_before_the_start_is_over(stage: Stage) -> None:
    """SIGTERM while the app is still being imported: a clean end, nothing claimed."""
    stage.enqueue("note")
    worker = stage.worker("--processes", "2")
    while not worker.children():
        assert worker.popen.poll() is None
    worker.send(signal.SIGTERM)
    assert worker.wait(20) == 0, "it was heard only when the grace was over"
    assert stage.value("SELECT count(*) FROM pgjobq.running") == 0
    assert "Traceback" not in worker.text


def test_a_drain_obeys_too(stage: Stage) -> None:
    """SIGTERM to a draining worker: it finishes what runs, gives back the rest and ends."""
    stage.enqueue("hold")
    stage.enqueue_many("nap", 200, {"seconds": 0.2})
    worker = stage.worker("--drain", "--concurrency", "2")
    stage.wait_marks("start", 2)
    os.kill(worker.pid, signal.SIGTERM)
    worker.wait_event("shutdown_began")
    stage.open_gate()
    assert worker.wait() == 0
    assert set(stage.states()) == {"ready", "succeeded"}
    assert len(stage.marks("start")) == stage.states()["succeeded"]
