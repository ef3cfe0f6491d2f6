"""enqueue_many on connections of our own: a portion is made while the server writes the one before it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest

from pgjobq import Queue, SchemaMissing
from pgjobq.statements.portions import PORTION_JOBS
from pgjobq.task import Call, Task
from support.locks import lock_waiters
from support.waiting import eventually


@pytest.fixture
def send(queue: Queue) -> Task[..., None]:
    @queue.task
    def send(number: int, text: str = "") -> None: ...

    return send


def test_the_next_portion_is_made_while_the_server_writes_the_last(
    queue: Queue, send: Task[..., None], dsn: str
) -> None:
    """The server is kept from finishing the first portion until the stream has gone on to the second."""
    gate = psycopg.connect(dsn)
    gate.execute("LOCK TABLE pgjobq.job IN SHARE MODE")

    def stream() -> Iterator[Call]:
        for number in range(2 * PORTION_JOBS):
            if number == PORTION_JOBS + 1:
                eventually(lambda: lock_waiters(dsn, "relation") == 1)
                gate.rollback()
            yield send.call(number=number)

    with gate:
        assert len(queue.enqueue_many(stream())) == 2 * PORTION_JOBS


def test_a_portion_is_sent_before_the_last_is_answered(queue: Queue, send: Task[..., None], dsn: str) -> None:
    """The server is kept from finishing the first portion until the stream has gone on to the third."""
    gate = psycopg.connect(dsn, options="-c idle_in_transaction_session_timeout=30s")  # else a failure would hang
    gate.execute("LOCK TABLE pgjobq.job IN SHARE MODE")
    reached = []

    def stream() -> Iterator[Call]:
        for number in range(3 * PORTION_JOBS):
            if number == 2 * PORTION_JOBS + 1:
                eventually(lambda: lock_waiters(dsn, "relation") == 1)
                reached.append(number)
                gate.rollback()
            yield send.call(number=number)

    with gate:
        ids = queue.enqueue_many(stream())
    assert reached == [2 * PORTION_JOBS + 1]
    assert ids == sorted(ids)
    assert len(ids) == 3 * PORTION_JOBS


@pytest.mark.parametrize("pipelines", [True, False])
def test_ids_in_order_with_and_without_pipeline_mode(
    queue: Queue, send: Task[..., None], dsn: str, monkeypatch: pytest.MonkeyPatch, pipelines: bool
) -> None:
    """libpq before version 14 has none."""
    monkeypatch.setattr(psycopg.Pipeline, "is_supported", lambda: pipelines)
    ids = queue.enqueue_many(send.call(number=number) for number in range(3 * PORTION_JOBS + 1))
    ids += asyncio.run(_awaited(queue, [send.call(number=number) for number in range(len(ids), len(ids) + 9)]))
    with psycopg.connect(dsn) as conn:
        stored = dict(conn.execute("SELECT id, (args->>'number')::int FROM pgjobq.job").fetchall())
    assert [stored[job] for job in ids] == list(range(3 * PORTION_JOBS + 10))


async def _awaited(queue: Queue, calls: list[Call]) -> list[int]:
    ids = await queue.aenqueue_many(calls)
    await queue.aclose()
    return ids


def test_a_connection_that_breaks_in_the_midst(queue: Queue, send: Task[..., None], dsn: str) -> None:
    """With two portions under way: an error, nothing written, and a new connection for the next call."""
    queue.enqueue_many([send.call(number=-1)])
    end = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()"""

    def stream() -> Iterator[Call]:
        for number in range(4 * PORTION_JOBS):
            if number == 2 * PORTION_JOBS + 1:
                with psycopg.connect(dsn) as conn:
                    conn.execute(end)
            yield send.call(number=number)

    with pytest.raises(psycopg.OperationalError):
        queue.enqueue_many(stream())
    assert [job.args for job in queue.jobs()] == [{"number": -1}]
    assert len(queue.enqueue_many([send.call(number=-2)])) == 1


@pytest.mark.parametrize("portion", [0, 1, 2])
def test_a_refusal_of_the_servers_in_any_portion_writes_nothing(
    queue: Queue, send: Task[..., None], dsn: str, portion: int
) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(f"ALTER TABLE pgjobq.job ADD CHECK (args->>'number' <> '{portion * PORTION_JOBS + 7}' )".encode())
    calls = [send.call(number=number) for number in range(3 * PORTION_JOBS)]
    with pytest.raises(psycopg.errors.CheckViolation, match="job_args_check"):
        queue.enqueue_many(calls)

    async def scene() -> None:
        with pytest.raises(psycopg.errors.CheckViolation):
            await queue.aenqueue_many(calls)
        assert len(await queue.aenqueue_many(calls[:3])) == 3
        await queue.aclose()

    asyncio.run(scene())
    assert len(queue.enqueue_many(calls[:3])) == 3, "and the pool's connection is fit for the next call"
    assert len(queue.jobs()) == 6


def test_a_stream_that_fails_costs_no_connection(queue: Queue, send: Task[..., None], dsn: str) -> None:
    """Answers under way are taken all the same, so that it can be rolled back and used again."""

    def stream() -> Iterator[Call]:
        for number in range(3 * PORTION_JOBS):
            if number == 2 * PORTION_JOBS + 1:
                raise LookupError
            yield send.call(number=number)

    queue.enqueue_many([send.call(number=1)])
    before = _sessions(dsn)
    with pytest.raises(LookupError):
        queue.enqueue_many(stream())
    assert len(queue.enqueue_many([send.call(number=2)])) == 1
    eventually(lambda: _sessions(dsn) == before)  # the first look's own session may not have ended yet


def _sessions(dsn: str) -> set[int]:
    with psycopg.connect(dsn) as conn:
        query = """SELECT pid FROM pg_stat_activity
                   WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"""
        return {pid for (pid,) in conn.execute(query)}


def test_a_cancelled_stream_writes_nothing(queue: Queue, send: Task[..., None]) -> None:
    async def scene() -> None:
        reached = asyncio.Event()

        async def stream() -> AsyncIterator[Call]:
            for number in range(PORTION_JOBS + 1):
                yield send.call(number=number)
            reached.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(queue.aenqueue_many(stream()))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await queue.ajobs() == []
        assert len(await queue.aenqueue_many([send.call(number=1)])) == 1
        await queue.aclose()

    asyncio.run(scene())


def test_calls_that_are_alike_and_calls_that_are_not_share_a_stream(queue: Queue, send: Task[..., None]) -> None:
    bound, late = send.using(queue="mail", priority=2), send.using(delay=3600)
    calls = [
        *(bound.call(number=number) for number in range(PORTION_JOBS)),
        *(late.call(number=number) for number in range(PORTION_JOBS)),
        *(send.using(ref=f"order:{number}").call(number=number) for number in range(3)),
    ]
    ids = queue.enqueue_many(calls)
    jobs = {job.id: job for job in queue.jobs(limit=10_000)}
    told = [(jobs[job].args["number"], jobs[job].queue, jobs[job].priority, str(jobs[job].state)) for job in ids]
    assert told[:PORTION_JOBS] == [(number, "mail", 2, "ready") for number in range(PORTION_JOBS)]
    assert told[PORTION_JOBS:-3] == [(number, "default", 0, "scheduled") for number in range(PORTION_JOBS)]
    assert [jobs[job].ref for job in ids[-3:]] == ["order:0", "order:1", "order:2"]


def test_a_database_that_was_never_migrated(empty_dsn: str) -> None:
    queue = Queue(empty_dsn)

    @queue.task
    def send(number: int) -> None: ...

    with pytest.raises(SchemaMissing, match="pgjobq migrate"):
        queue.enqueue_many([send.call(number=1)])

    def stream() -> Iterator[Call]:
        for number in range(2 * PORTION_JOBS):
            if number == PORTION_JOBS + 1:
                raise LookupError("of the caller's")
            yield send.call(number=number)

    with pytest.raises(LookupError, match="of the caller's"):
        queue.enqueue_many(stream())
    queue.close()


def test_ids_between_which_others_have_drawn_numbers(queue: Queue, send: Task[..., None], dsn: str) -> None:
    """Two bulks at once: the numbers of either need not follow one another, and are told one by one then."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("ALTER SEQUENCE pgjobq.job_id_seq INCREMENT 3")
    ids = queue.enqueue_many(send.call(number=number) for number in range(10))
    assert ids == list(range(ids[0], ids[0] + 30, 3))
    with psycopg.connect(dsn) as conn:
        stored = dict(conn.execute("SELECT id, (args->>'number')::int FROM pgjobq.job").fetchall())
    assert [stored[job] for job in ids] == list(range(10))
