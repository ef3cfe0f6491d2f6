"""complete(conn): the job's effects and its completion are one transaction of the handler's own."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import psycopg
import pytest

from pgjobq import LeaseLost, Queue, Retry, current_job
from worker.stage import Stage, embedded, run_drained, wait_until

pytestmark = pytest.mark.usefixtures("effect")


@pytest.fixture
def effect(stage: Stage) -> None:
    """A table of the application's own."""
    stage.query("CREATE TABLE effect (job bigint, attempt int)")


INSERT = "INSERT INTO effect VALUES (%s, %s)"


def effects(stage: Stage, job: int) -> list[int]:
    """The attempts whose effects are there."""
    return [attempt for (attempt,) in stage.query("SELECT attempt FROM effect WHERE job = %s ORDER BY 1", job)]


@pytest.mark.parametrize("kind", ["async", "plain"])
def test_effects_and_completion_commit_together(queue: Queue, stage: Stage, kind: str) -> None:
    """Before the commit both are invisible, afterwards both are there; the worker has nothing left to settle."""
    seen: list[Any] = []

    def look(job: int) -> None:
        seen.append((stage.state(job), effects(stage, job)))

    def plain() -> None:
        job = current_job()
        with psycopg.connect(stage.dsn) as conn:
            conn.execute(INSERT, (job.id, job.attempt))
            job.complete(conn)
            look(job.id)
        look(job.id)

    async def handler() -> None:
        job = current_job()
        async with await psycopg.AsyncConnection.connect(stage.dsn) as conn:
            await conn.execute(INSERT, (job.id, job.attempt))
            await job.acomplete(conn)
            await asyncio.to_thread(look, job.id)
        await asyncio.to_thread(look, job.id)

    task: Any = queue.task(name="book")(handler if kind == "async" else plain)
    job = task.enqueue().id
    run_drained(queue)
    assert seen == [("running", []), ("succeeded", [1])]
    assert stage.job(job)["attempt"] == 1
    assert stage.errors(job) == []
    assert effects(stage, job) == [1]


@pytest.mark.parametrize("kind", ["async", "plain"])
def test_who_lost_the_lease_is_rolled_back(queue: Queue, stage: Stage, kind: str) -> None:
    """complete() raises LeaseLost for an attempt that no longer holds its job, so that its effects go too."""
    seen: list[bool] = []

    def steal(job: int) -> None:
        stage.query(
            """WITH thief AS (
                   INSERT INTO pgjobq.worker (id, expires_at, pid, concurrency, host, app, version, queues, tasks)
                   VALUES (gen_random_uuid(), now() + interval '1 hour', 1, 1, '', '', '', '{}', '{}') RETURNING id)
               UPDATE pgjobq.running SET attempt = attempt + 1, worker = thief.id FROM thief WHERE job = %s""",
            job,
        )

    def plain() -> None:
        job = current_job()
        with psycopg.connect(stage.dsn) as conn:
            conn.execute(INSERT, (job.id, job.attempt))
            steal(job.id)
            try:
                job.complete(conn)
            except LeaseLost:
                seen.append(job.cancelled)
                raise

    async def handler() -> None:
        job = current_job()
        async with await psycopg.AsyncConnection.connect(stage.dsn) as conn:
            await conn.execute(INSERT, (job.id, job.attempt))
            await asyncio.to_thread(steal, job.id)
            try:
                await job.acomplete(conn)
            except LeaseLost:
                seen.append(job.cancelled)
                raise

    task: Any = queue.task(name="book")(handler if kind == "async" else plain)
    job = task.enqueue().id
    run_drained(queue)
    assert seen == [True]
    assert effects(stage, job) == []
    assert stage.state(job) == "running"  # it is the thief's
    assert stage.errors(job) == []


@pytest.mark.parametrize("kind", ["async", "plain"])
def test_a_completion_that_was_rolled_back_is_tried_again(queue: Queue, stage: Stage, kind: str) -> None:
    """The handler returns well, but its transaction is gone: CompletionRolledBack is recorded and the job run again."""

    def plain() -> None:
        job = current_job()
        with psycopg.connect(stage.dsn) as conn:
            conn.execute(INSERT, (job.id, job.attempt))
            job.complete(conn)
            if job.attempt == 1:
                conn.rollback()

    async def handler() -> None:
        job = current_job()
        async with await psycopg.AsyncConnection.connect(stage.dsn) as conn:
            await conn.execute(INSERT, (job.id, job.attempt))
            await job.acomplete(conn)
            if job.attempt == 1:
                await conn.rollback()

    task: Any = queue.task(name="book", retry=Retry(wait=0))(handler if kind == "async" else plain)
    job = task.enqueue().id
    run_drained(queue)
    row = stage.job(job)
    assert (row["state"], row["attempt"]) == ("succeeded", 2)
    assert effects(stage, job) == [2]
    (error,) = stage.errors(job)
    assert error["kind"].rpartition(".")[2] == "CompletionRolledBack"


@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_an_open_transaction_holds_up_nobody(queue: Queue, stage: Stage, ends: str) -> None:
    """A handler that returns with its transaction still open: neighbours are settled meanwhile, and the job ends as
    that transaction does."""
    kept: list[psycopg.Connection] = []

    @queue.task(retry=Retry(wait=0))
    def careless() -> None:
        job = current_job()
        if job.attempt > 1:
            return
        conn = psycopg.connect(stage.dsn)
        conn.execute(INSERT, (job.id, job.attempt))
        job.complete(conn)
        kept.append(conn)

    @queue.task
    async def note() -> None:
        pass

    job = careless.enqueue().id
    with embedded(queue, concurrency=4):
        wait_until(lambda: kept)
        neighbours = [note.enqueue().id for _ in range(50)]
        for neighbour in neighbours:
            stage.wait_state(neighbour, "succeeded", timeout=20)
        assert stage.state(job) == "running"
        getattr(kept[0], ends)()
        kept[0].close()
        row = stage.wait_state(job, "succeeded", timeout=20)
    assert row["attempt"] == {"commit": 1, "rollback": 2}[ends]
    assert effects(stage, job) == {"commit": [1], "rollback": []}[ends]
    assert len(stage.errors(job)) == {"commit": 0, "rollback": 1}[ends]


@pytest.mark.parametrize("kind", ["async", "plain"])
def test_an_error_after_the_commit_changes_nothing(queue: Queue, stage: Stage, kind: str) -> None:
    """What was completed stays succeeded, whatever the handler raises afterwards."""

    def plain() -> None:
        job = current_job()
        with psycopg.connect(stage.dsn) as conn:
            conn.execute(INSERT, (job.id, job.attempt))
            job.complete(conn)
        raise ValueError("too late")

    async def handler() -> None:
        job = current_job()
        async with await psycopg.AsyncConnection.connect(stage.dsn) as conn:
            await conn.execute(INSERT, (job.id, job.attempt))
            await job.acomplete(conn)
        raise ValueError("too late")

    task: Any = queue.task(name="book", retry=Retry(wait=0))(handler if kind == "async" else plain)
    job = task.enqueue().id
    run_drained(queue)
    assert stage.job(job)["state"] == "succeeded"
    assert effects(stage, job) == [1]
    assert stage.errors(job) == []


def test_an_error_before_the_commit_rolls_all_back(queue: Queue, stage: Stage) -> None:
    """complete() and then an exception inside the transaction: neither effect nor completion; tried again."""

    @queue.task(retry=Retry(wait=0))
    def book() -> None:
        job = current_job()
        with psycopg.connect(stage.dsn) as conn:
            conn.execute(INSERT, (job.id, job.attempt))
            job.complete(conn)
            if job.attempt == 1:
                raise ValueError("just in time")

    job = book.enqueue().id
    run_drained(queue)
    assert stage.job(job)["attempt"] == 2
    assert effects(stage, job) == [2]
    assert [error["kind"] for error in stage.errors(job)] == ["ValueError"]


def test_many_jobs_complete_themselves(queue: Queue, stage: Stage) -> None:
    """300 of them, a third rolled back the first time, in threads and coroutines: one effect each."""

    @queue.task(retry=Retry(wait=0))
    def plain() -> None:
        job = current_job()
        with psycopg.connect(stage.dsn) as conn:
            conn.execute(INSERT, (job.id, job.attempt))
            job.complete(conn)
            if job.id % 3 == 0 and job.attempt == 1:
                conn.rollback()

    @queue.task(retry=Retry(wait=0))
    async def soft() -> None:
        job = current_job()
        async with await psycopg.AsyncConnection.connect(stage.dsn) as conn:
            await conn.execute(INSERT, (job.id, job.attempt))
            await job.acomplete(conn)
            if job.id % 3 == 0 and job.attempt == 1:
                await conn.rollback()

    queue.enqueue_many([task.call() for _ in range(150) for task in (plain, soft)])
    run_drained(queue, concurrency=8)
    assert stage.states() == {"succeeded": 300}
    assert stage.value("SELECT count(*) FROM effect") == 300
    assert stage.value("SELECT count(DISTINCT job) FROM effect") == 300
    wrong = "SELECT count(*) FROM effect e JOIN pgjobq.finished f USING (job) WHERE e.attempt <> f.attempt"
    assert stage.value(wrong) == 0


def test_a_time_out_while_completing(queue: Queue, stage: Stage) -> None:
    """A handler that is cancelled between complete() and its commit leaves nothing, and is tried again."""
    completed: list[int] = []

    @queue.task(timeout=1, retry=Retry(wait=0))
    async def slow() -> None:
        job = current_job()
        async with await psycopg.AsyncConnection.connect(stage.dsn) as conn:
            await conn.execute(INSERT, (job.id, job.attempt))
            await job.acomplete(conn)
            completed.append(job.attempt)
            if len(completed) == 1:
                await asyncio.sleep(30)

    job = slow.enqueue().id
    run_drained(queue)
    last = stage.job(job)["attempt"]  # 2, unless the machine stood still for a second meanwhile
    assert completed[0] < completed[-1] == last
    assert effects(stage, job) == [last]
    assert [error["kind"] for error in stage.errors(job)] == ["TimeoutError"] * (last - 1)


def test_complete_is_bound_to_its_own_job(queue: Queue, stage: Stage) -> None:
    """Handlers that run side by side in threads each complete their own job."""
    both = threading.Barrier(2, timeout=30)

    @queue.task
    def book() -> None:
        both.wait()
        job = current_job()
        with psycopg.connect(stage.dsn) as conn:
            conn.execute(INSERT, (job.id, job.attempt))
            job.complete(conn)
        time.sleep(0.01)

    jobs = [book.enqueue().id for _ in range(2)]
    run_drained(queue, concurrency=2)
    assert [effects(stage, job) for job in jobs] == [[1], [1]]
    assert stage.states() == {"succeeded": 2}
