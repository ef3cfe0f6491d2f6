"""How far a job has come: gathered, written in the background, and followed by whoever wants to know."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from pgjobq import InvalidOption, NoSuchJob, Progress, Queue, Retry, WaitTimeout, current_job
from pgjobq.progress import WRITES_EVERY
from worker.stage import Stage, embedded, run_drained, wait_until


def _writes(stage: Stage) -> int:
    """Rows that reports have written, as far as the server's statistics have come."""
    return int(
        stage.value("SELECT n_tup_ins + n_tup_upd FROM pg_stat_all_tables WHERE relid = 'pgjobq.progress'::regclass")
        or 0
    )


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_many_reports_cost_few_statements_and_the_last_one_counts(queue: Queue, stage: Stage, kind: str) -> None:
    took: list[float] = []

    def say() -> None:
        job = current_job()
        began = time.perf_counter()
        for number in range(20_000):
            job.progress(number + 1, 20_000, f"row {number + 1}")
        took.append(time.perf_counter() - began)

    async def asay() -> None:
        say()

    task: Any = queue.task(name="say")(asay if kind == "async" else say)
    job = task.enqueue().id
    run_drained(queue)
    found = queue.get(job)
    assert found is not None
    assert found.progress is not None
    assert (found.progress.done, found.progress.total, found.progress.message) == (20_000, 20_000, "row 20000")
    assert found.progress.share == 1.0
    wait_until(lambda: _writes(stage) > 0)
    assert _writes(stage) <= 3 + took[0] / WRITES_EVERY


def test_a_job_that_says_nothing_has_none(queue: Queue, stage: Stage) -> None:
    @queue.task
    def silent() -> None:
        pass

    job = silent.enqueue().id
    run_drained(queue)
    assert queue.get(job).progress is None  # type: ignore[union-attr]


def test_a_later_attempt_says_its_own(queue: Queue, stage: Stage) -> None:
    """Also when it has not come as far."""

    @queue.task(retry=Retry(wait=0.0))
    def say() -> None:
        job = current_job()
        job.progress(9 if job.attempt == 1 else 1, 10)
        wait_until(lambda: stage.value("SELECT max(attempt) FROM pgjobq.progress") == job.attempt)
        if job.attempt == 1:
            raise ValueError("no")

    job = say.enqueue().id
    run_drained(queue)
    found = queue.get(job).progress  # type: ignore[union-attr]
    assert found is not None
    assert (found.done, found.attempt) == (1, 2)


def test_reports_wait_for_a_database_that_is_away(queue: Queue, stage: Stage) -> None:
    """The handler does not notice; what it said last is written when the database is back."""

    @queue.task
    def say() -> None:
        job = current_job()
        job.progress(1, 3)
        wait_until(lambda: stage.query("SELECT job FROM pgjobq.progress"))
        with psycopg.connect(stage.dsn) as conn:
            conn.execute("LOCK TABLE pgjobq.progress")  # the reporter's statement hangs …
            job.progress(2, 3)
            conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
                "AND query LIKE '%report_progress%' AND pid <> pg_backend_pid()"
            )
            job.progress(3, 3)
        wait_until(lambda: stage.value("SELECT done FROM pgjobq.progress") == 3)

    job = say.enqueue().id
    run_drained(queue)
    assert stage.state(job) == "succeeded"


def heard(ear: psycopg.Connection) -> list[str]:
    """What it was told so far: all that was sent by transactions that have ended is there after a round trip."""
    ear.execute("SELECT 1")
    return [notice.payload for notice in ear.notifies(timeout=0.1)]


def define_walk(queue: Queue, stage: Stage) -> Any:
    """A task that goes three steps and waits until each was seen by the test."""

    @queue.task
    def walk() -> None:
        job = current_job()
        for number in range(3):
            job.progress(number + 1, 3)
            seen[number].wait(60)

    seen = [threading.Event() for _ in range(3)]
    return walk, seen


def test_following_it(queue: Queue, stage: Stage) -> None:
    """Each report within moments, woken by NOTIFY; the loop ends with the job."""
    walk, seen = define_walk(queue, stage)
    job = walk.enqueue()
    with embedded(queue):
        told: list[Progress] = []
        for progress in job.watch_progress(timeout=60):
            told.append(progress)
            seen[len(told) - 1].set()
    assert [progress.done for progress in told] == [1, 2, 3]
    assert stage.state(job.id) == "succeeded"
    assert list(queue.watch_progress(job.id)) == told[-1:], "of one that has ended, the last report"
    assert stage.query("SELECT pg_listening_channels()") == []


def test_following_it_asynchronously(queue: Queue, stage: Stage) -> None:
    walk, seen = define_walk(queue, stage)
    job = walk.enqueue()

    async def follow() -> list[float]:
        told = []
        async for progress in job.awatch_progress(timeout=60):
            told.append(progress.done)
            seen[len(told) - 1].set()
        await queue.aclose()
        return told

    with embedded(queue):
        assert asyncio.run(follow()) == [1, 2, 3]


def test_who_follows_is_woken_and_nobody_else_is_told(queue: Queue, stage: Stage) -> None:
    """A notification per report while somebody watches, none before and after."""
    with psycopg.connect(stage.dsn, autocommit=True) as ear:
        ear.execute('LISTEN "pgjobq:progress"')
        walk, seen = define_walk(queue, stage)
        unwatched = walk.enqueue().id
        with embedded(queue):
            for step in seen:
                step.set()
            stage.wait_state(unwatched, "succeeded")
            assert heard(ear) == []
            for step in seen:
                step.clear()
            job = walk.enqueue()
            for number, _ in enumerate(job.watch_progress(timeout=60)):
                seen[number].set()
        assert set(heard(ear)) == {str(job.id)}


def test_following_ends_with_its_time(queue: Queue) -> None:
    @queue.task
    def never() -> None:
        pass

    job = never.enqueue()
    with pytest.raises(WaitTimeout, match="has not ended in time: it is ready"):
        list(job.watch_progress(timeout=0.2))
    with pytest.raises(NoSuchJob):
        list(queue.watch_progress(job.id + 1))
    with pytest.raises(InvalidOption):
        list(queue.watch_progress(job.id, timeout=-1))


def test_leaving_the_loop_gives_the_connection_back(queue: Queue, stage: Stage) -> None:
    walk, seen = define_walk(queue, stage)
    for step in seen:
        step.set()
    job = walk.enqueue()
    run_drained(queue)
    for _ in range(25):
        for _ in job.watch_progress(timeout=5):
            break


@pytest.mark.parametrize(
    ("done", "total", "message", "text", "share"),
    [
        (3, None, None, "3", None),
        (3, 4, None, "3 of 4", 0.75),
        (1234.5, 2000, "rows", "1,234.5 of 2,000: rows", 0.61725),
        (5, 4, None, "5 of 4", 1.0),
        (1, 0, None, "1 of 0", None),
    ],
)
def test_how_it_reads(done: float, total: float | None, message: str | None, text: str, share: float | None) -> None:
    progress = Progress(done, total, message, datetime.now(UTC), 1)
    assert (str(progress), progress.share) == (text, share)
