"""What becomes of a job whose handler failed, snoozed, discarded or took too long."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pgjobq import Discard, Queue, Retry, Snooze, current_job
from worker.stage import Stage, run_drained

NOW = Retry(max_attempts=3, wait=0)


def both(kind: str, plain: Any) -> Any:
    """The handler as it is, or as a coroutine function."""
    if kind == "plain":
        return plain

    async def handler() -> Any:
        return plain()

    handler.__name__ = plain.__name__
    return handler


@pytest.mark.parametrize("kind", ["async", "plain"])
def test_a_job_that_always_fails_ends_as_failed(queue: Queue, kind: str) -> None:
    """After max_attempts failures a job is failed, with the reason, and each attempt's error with its traceback."""

    def fail() -> None:
        raise ValueError(f"number {current_job().attempt}")

    task: Any = queue.task(retry=NOW)(both(kind, fail))
    job = task.enqueue().id
    run_drained(queue)
    row = queue.get(job)
    assert row is not None
    assert (row.state, row.attempt, row.max_attempts) == ("failed", 3, 3)
    assert row.reason == "ValueError: number 3"
    errors = queue.errors(job)
    assert [(e.attempt, e.kind, e.message) for e in errors] == [(n, "ValueError", f"number {n}") for n in (1, 2, 3)]
    for error in errors:
        assert error.traceback.startswith("Traceback (most recent call last):")
        assert __file__ in error.traceback
        assert "raise ValueError" in error.traceback


def test_delays_grow_exponentially(queue: Queue, stage: Stage) -> None:
    """Failed attempts come back after wait · factorⁿ⁻¹ seconds, as recorded in `scheduled`; the cap holds."""

    @queue.task(retry=Retry(max_attempts=6, wait=100, factor=2, cap=500, jitter=0))
    async def fail() -> None:
        raise ValueError

    job = fail.enqueue().id
    delays = []
    for attempt in range(1, 6):
        run_drained(queue)
        due, spent = stage.query("SELECT run_at, attempt FROM pgjobq.scheduled WHERE job = %s", job)[0]
        failed = stage.value("SELECT failed_at FROM pgjobq.attempt_error WHERE job = %s AND attempt = %s", job, attempt)
        assert spent == attempt
        delays.append((due - failed).total_seconds())
        stage.query("UPDATE pgjobq.scheduled SET run_at = now()")
    assert delays == [pytest.approx(wanted, abs=0.01) for wanted in (100, 200, 400, 500, 500)]
    run_drained(queue)
    assert stage.state(job) == "failed"


def test_jitter_only_shortens(queue: Queue, stage: Stage) -> None:
    """Jobs that failed together do not come back together: the random part spreads them below the full wait."""

    @queue.task(retry=Retry(wait=1000, jitter=0.5))
    async def fail() -> None:
        raise ValueError

    queue.enqueue_many([fail.call() for _ in range(40)])
    run_drained(queue)
    sql = """SELECT extract(epoch FROM s.run_at - e.failed_at)::float8
             FROM pgjobq.scheduled s JOIN pgjobq.attempt_error e USING (job)"""
    delays = [delay for (delay,) in stage.query(sql)]
    assert len(delays) == 40
    assert min(delays) >= 499.9
    assert max(delays) <= 1000.1
    assert max(delays) - min(delays) > 100


def test_give_up_on_and_rules(queue: Queue, stage: Stage) -> None:
    """The exception's class decides: give up at once, wait exactly so long, or follow a Retry of its own."""
    rules: Any = {KeyError: 50.0, OSError: timedelta(minutes=2), ArithmeticError: Retry(max_attempts=1)}
    errors = {
        "lookup": KeyError("k"),
        "os": ConnectionError("c"),
        "math": ZeroDivisionError(),
        "value": ValueError("v"),
    }

    @queue.task(retry=Retry(max_attempts=9, wait=7, jitter=0, give_up_on=(ValueError,), rules=rules))
    async def fail(which: str) -> None:
        raise errors[which]

    jobs = {which: fail.enqueue(which=which).id for which in errors}
    run_drained(queue)
    assert {which: stage.state(job) for which, job in jobs.items()} == {
        "lookup": "scheduled",
        "os": "scheduled",
        "math": "failed",
        "value": "failed",
    }
    sql = """SELECT job, round(extract(epoch FROM s.run_at - e.failed_at))::int
             FROM pgjobq.scheduled s JOIN pgjobq.attempt_error e USING (job)"""
    assert dict(stage.query(sql)) == {jobs["lookup"]: 50, jobs["os"]: 120}
    assert stage.job(jobs["value"])["reason"] == "ValueError: v"


@pytest.mark.parametrize("kind", ["async", "plain"])
def test_a_snooze_spends_no_attempt(queue: Queue, stage: Stage, kind: str) -> None:
    """Snoozes leave the budget alone, while the attempt's number grows with every start."""
    numbers = []

    def work() -> None:
        numbers.append(current_job().attempt)
        if len(numbers) <= 5:
            raise Snooze(0)
        raise ValueError

    task: Any = queue.task(retry=Retry(max_attempts=2, wait=0))(both(kind, work))
    job = task.enqueue().id
    run_drained(queue)
    assert numbers == [1, 2, 3, 4, 5, 6, 7]
    assert stage.state(job) == "failed"
    assert [error["attempt"] for error in stage.errors(job)] == [6, 7]


def test_a_snooze_is_kept_in_scheduled(queue: Queue, stage: Stage) -> None:
    """Snooze(90) puts the job into `scheduled` for 90 s, without an error row."""

    @queue.task
    async def later() -> None:
        raise Snooze(timedelta(seconds=90))

    before = datetime.now(UTC)
    job = later.enqueue().id
    run_drained(queue)
    row = stage.job(job)
    assert row["state"] == "scheduled"
    assert 85 < (row["run_at"] - before).total_seconds() < 150
    assert stage.errors(job) == []


@pytest.mark.parametrize("kind", ["async", "plain"])
def test_discard_cancels_with_its_reason(queue: Queue, stage: Stage, kind: str) -> None:
    """Discard ends the job as cancelled; nothing is tried again and no error is recorded."""

    def drop() -> None:
        raise Discard("the order is gone")

    task: Any = queue.task(both(kind, drop))
    job = task.enqueue().id
    run_drained(queue)
    row = stage.job(job)
    assert (row["state"], row["reason"], row["attempt"]) == ("cancelled", "the order is gone", 1)
    assert stage.errors(job) == []


def test_an_async_handler_is_cancelled_at_its_time_out(queue: Queue, stage: Stage) -> None:
    """It is cancelled, the attempt is a TimeoutError and is tried again; `cancelled` says so in the handler."""
    seen = []

    @queue.task(timeout=0.1, retry=NOW)
    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append(current_job().attempt)
            raise

    job = slow.enqueue().id
    run_drained(queue)
    assert seen == [1, 2, 3]
    assert stage.state(job) == "failed"
    assert {error["kind"] for error in stage.errors(job)} == {"TimeoutError"}
    assert "0.1 s" in stage.errors(job)[0]["message"]


def test_a_plain_handler_is_interrupted_at_its_time_out(queue: Queue, stage: Stage) -> None:
    """An Interruption is raised in its thread, which a broad `except Exception` does not catch."""
    seen = []

    @queue.task(timeout=0.2, retry=NOW)
    def slow() -> None:
        ends = time.monotonic() + 30
        try:
            while time.monotonic() < ends:
                try:
                    time.sleep(0.01)
                except Exception:
                    seen.append("eaten")
        except BaseException as error:
            seen.append(type(error).__name__)
            assert current_job().cancelled
            raise

    job = slow.enqueue().id
    run_drained(queue)
    assert seen == ["Interruption"] * 3
    assert stage.state(job) == "failed"
    assert {error["kind"] for error in stage.errors(job)} == {"TimeoutError"}


def test_a_handler_that_ends_within_its_time_out_is_left_alone(queue: Queue, stage: Stage) -> None:
    """Neither kind is disturbed, nor is the next job in the same slot or thread."""

    @queue.task(timeout=5)
    def quick() -> None:
        time.sleep(0.001)

    @queue.task(timeout=5)
    async def aquick() -> None:
        await asyncio.sleep(0.001)

    queue.enqueue_many([task.call() for task in (quick, aquick) for _ in range(100)])
    run_drained(queue, concurrency=4)
    assert stage.states() == {"succeeded": 200}


def test_a_time_out_at_the_very_end_never_hits_the_next_job(queue: Queue, stage: Stage) -> None:
    """Time-outs that race with the end of their handler strike that one or nobody: others in the thread succeed."""

    @queue.task(timeout=0.02, retry=Retry(max_attempts=1))
    def edge() -> None:
        time.sleep(0.02)

    @queue.task(retry=Retry(max_attempts=1))
    def plain() -> int:
        return sum(range(2000))

    queue.enqueue_many([task.call() for _ in range(150) for task in (edge, plain)])
    run_drained(queue, concurrency=2)
    states = dict(stage.query("SELECT task || ' ' || state, count(*) FROM pgjobq.jobs GROUP BY 1"))
    assert states.pop("plain succeeded") == 150
    assert set(states) <= {"edge succeeded", "edge failed"}
    assert {kind for (kind,) in stage.query("SELECT DISTINCT kind FROM pgjobq.attempt_error")} <= {"TimeoutError"}
