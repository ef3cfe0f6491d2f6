"""wait() and await_result(): a program waits for the end of a job, and is told of it by the database."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from pgjobq import Discard, Job, JobNotSucceeded, JobState, NoSuchJob, Queue, Retry, WaitTimeout, current_job, looking
from pgjobq.errors import InvalidOption
from sql.support.hand import Hand
from worker.stage import Stage, embedded, eventually


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks by himself: whoever waits is told, or sleeps on."""
    monkeypatch.setattr(looking, "FIRST_LOOK", 1_000.0)
    monkeypatch.setattr(looking, "LOOK_EVERY", 1_000.0)


def _waiter(stage: Stage, job: int) -> None:
    """Wait until somebody waits for this job, and listens for nothing else meanwhile."""
    eventually(lambda: stage.value("SELECT count(*) FROM pgjobq.awaited WHERE job = %s", job))
    eventually(
        lambda: stage.value(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle'"
            " AND query LIKE '%%to_jsonb(j)%%'"
        )
    )


def test_a_result_comes_back(queue: Queue) -> None:
    @queue.task
    async def add(a: int, b: int) -> int:
        return a + b

    @queue.task
    def listed(n: int) -> dict[str, list[int]]:
        return {"numbers": [*range(n)]}

    with embedded(queue):
        assert add.enqueue(2, 3).wait(30) == 5
        assert listed.enqueue(3).wait(30) == {"numbers": [0, 1, 2]}

        async def awaited() -> Any:
            job = await add.aenqueue(20, 3)
            return await job.await_result(30)

        assert asyncio.run(awaited()) == 23


def test_what_did_not_succeed_is_told_with_the_reason(queue: Queue) -> None:
    @queue.task(retry=Retry(max_attempts=1))
    def bad() -> None:
        raise ValueError("no such order")

    @queue.task
    def pointless() -> None:
        raise Discard("the order was cancelled")

    with embedded(queue):
        with pytest.raises(JobNotSucceeded, match="is failed: ValueError: no such order") as caught:
            bad.enqueue().wait(30)
        assert isinstance(caught.value.job, Job)
        assert caught.value.job.state is JobState.FAILED
        with pytest.raises(JobNotSucceeded, match="is cancelled: the order was cancelled"):
            pointless.enqueue().wait(30)


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize("end", ["complete", "s", "f", "c", "cancel", "own", "rescue"])
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_every_road_to_an_end_tells(queue: Queue, stage: Stage, end: str, kind: str) -> None:
    @queue.task
    def work() -> None: ...

    job = work.enqueue().id
    stage.query("UPDATE pgjobq.job SET max_attempts = 1")
    ask = (lambda: queue.wait(job, 60)) if kind == "sync" else (lambda: asyncio.run(queue.await_job(job, 60)))
    with Hand(stage.dsn) as hand, ThreadPoolExecutor(1) as pool:
        lease = hand.claim_one() if end != "cancel" else None
        asked = pool.submit(ask)
        _waiter(stage, job)
        if lease is None:
            assert queue.cancel(job)
        elif end == "complete":
            assert hand.complete(lease) == [job]
        elif end == "own":
            assert hand.value("SELECT pgjobq.complete($1, $2, $3)", job, lease.attempt, hand.id)
        elif end == "rescue":
            hand.say("rescue", [hand.id], "it died", None, 0.0, None)
        else:
            hand.settle_as(end, lease, kind="ValueError" if end == "f" else None, message="bad")
        assert asked.result(30).state.final


@pytest.mark.usefixtures("told")
def test_without_being_told_nobody_wakes(queue: Queue, stage: Stage) -> None:
    """The guard of the test above: an end of which ended() does not tell goes unheard."""

    @queue.task
    def work() -> None: ...

    job = work.enqueue().id
    with Hand(stage.dsn) as hand, ThreadPoolExecutor(1) as pool:
        hand.replaced["complete"] = hand.text("complete").replace(
            "SELECT pgjobq.ended_many(ARRAY(SELECT job FROM held))", "SELECT true"
        )
        lease = hand.claim_one()
        asked = pool.submit(lambda: queue.wait(job, 10))
        _waiter(stage, job)
        hand.complete(lease)
        started = time.monotonic()
        assert asked.result(60).state is JobState.SUCCEEDED, "seen by the look when its time was over"
        assert time.monotonic() - started > 1


def test_an_end_that_was_being_written_is_seen_by_a_look(queue: Queue, stage: Stage) -> None:
    """The settling transaction asked who waits before we said so, and commits after we looked."""

    @queue.task
    def work() -> None: ...

    job = work.enqueue().id
    with Hand(stage.dsn) as hand, ThreadPoolExecutor(1) as pool:
        lease = hand.claim_one()
        hand.sql("BEGIN")
        assert hand.complete(lease) == [job]
        asked = pool.submit(lambda: queue.wait(job, 60))
        _waiter(stage, job)
        hand.sql("COMMIT")
        assert asked.result(30).state is JobState.SUCCEEDED


def test_time_is_over(queue: Queue) -> None:
    @queue.task
    def work() -> None: ...

    job = work.enqueue()
    with pytest.raises(WaitTimeout, match=rf"job {job.id} \(work\) has not ended in time: it is ready"):
        job.wait(0.05)
    with pytest.raises(TimeoutError):
        asyncio.run(job.await_result(0))
    with pytest.raises(InvalidOption, match="timeout=-1"):
        job.wait(-1)
    assert queue.cancel(job.id), "nothing of the wait is left on the job"


def test_a_job_that_nobody_can_see(queue: Queue, dsn: str) -> None:
    @queue.task
    def work() -> None: ...

    with psycopg.connect(dsn) as conn:
        job = work.using(conn=conn).enqueue()
        with pytest.raises(NoSuchJob, match="has not been committed"):
            job.wait(1)
        conn.rollback()


def test_a_cancelled_wait_gives_its_connection_back(queue: Queue) -> None:
    @queue.task
    def work() -> None: ...

    async def scenario() -> None:
        job = await work.aenqueue()
        for _ in range(12):  # more than there are connections
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(job.await_result(), 0.05)
        assert (await queue.aget(job.id)) is not None

    asyncio.run(scenario())


def test_connections_of_a_pool_of_ones_own(dsn: str) -> None:
    """They are not in autocommit, and hear nothing inside a transaction."""
    with ConnectionPool(dsn, min_size=1, max_size=2, open=True) as pool:
        queue = Queue(dsn, pool=pool)

        @queue.task
        def work() -> int:
            return current_job().id

        with embedded(queue):
            job = work.enqueue()
            assert job.wait(30) == job.id


@pytest.mark.usefixtures("told")
def test_many_wait_at_once_and_each_is_told_of_its_own(queue: Queue, stage: Stage) -> None:
    go = threading.Event()

    @queue.task
    def echo(n: int) -> int:
        go.wait(60)
        return n

    async def scenario() -> list[Any]:
        jobs = [await echo.aenqueue(n) for n in range(8)]
        asked = [asyncio.ensure_future(job.await_result(60)) for job in jobs]
        waiting = "SELECT count(DISTINCT job) FROM pgjobq.awaited"
        await asyncio.to_thread(eventually, lambda: stage.value(waiting) == len(jobs))
        go.set()
        return await asyncio.wait_for(asyncio.gather(*asked), 30)  # when their time is over they look by themselves

    with embedded(queue, concurrency=8):
        assert asyncio.run(scenario()) == [*range(8)]


def test_upkeep_forgets_who_waited(queue: Queue, stage: Stage) -> None:
    @queue.task
    def work() -> None: ...

    stage.query("SELECT pgjobq.watch(%s, 0)", work.enqueue().id)
    with embedded(queue):
        eventually(lambda: stage.value("SELECT count(*) FROM pgjobq.awaited") == 0)
