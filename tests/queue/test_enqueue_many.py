"""enqueue_many: a stream, in order, all of it or nothing, beside whatever else the transaction does."""

from __future__ import annotations

import asyncio
import itertools
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pydantic
import pytest

from pgjobq import PayloadTooLarge, Queue, WrongArgumentType
from pgjobq.statements.portions import PORTION_JOBS
from pgjobq.task import Call, Task


@pytest.fixture
def send(queue: Queue) -> Task[..., None]:
    @queue.task
    def send(number: int, text: str = "") -> None: ...

    return send


def _numbers(queue: Queue, dsn: str) -> dict[int, int]:
    with psycopg.connect(dsn) as conn:
        return dict(conn.execute("SELECT id, (args->>'number')::int FROM pgjobq.job").fetchall())


@pytest.mark.parametrize("count", [0, 1, PORTION_JOBS - 1, PORTION_JOBS, PORTION_JOBS + 1, 3 * PORTION_JOBS + 7])
def test_ids_come_in_the_order_of_the_calls(queue: Queue, send: Task[..., None], dsn: str, count: int) -> None:
    ids = queue.enqueue_many(send.call(number=number) for number in range(count))
    assert len(ids) == count
    stored = _numbers(queue, dsn)
    assert [stored[job] for job in ids] == list(range(count))


def test_mixed_tasks_queues_and_times_in_order(queue: Queue, send: Task[..., None]) -> None:
    @queue.task(queue="mail", priority=5)
    def other() -> None: ...

    calls = [
        send.using(queue="zebra").call(number=1),
        other.call(),
        send.using(delay=60, queue="apple").call(number=2),
        other.using(priority=-1).call(),
        send.call(number=3),
    ]
    ids = queue.enqueue_many(calls)
    jobs = {job.id: job for job in queue.jobs()}
    told = [(job.task, job.queue, job.priority, str(job.state)) for job in map(jobs.__getitem__, ids)]
    assert told == [
        ("send", "zebra", 0, "ready"),
        ("other", "mail", 5, "ready"),
        ("send", "apple", 0, "scheduled"),
        ("other", "mail", -1, "ready"),
        ("send", "default", 0, "ready"),
    ]


def _calls_then_error(send: Task[..., None], good: int) -> Iterator[Call]:
    for number in range(good):
        yield send.call(number=number)
    yield send.call(number="many")


@pytest.mark.parametrize("good", [0, 5, 2 * PORTION_JOBS + 5])
def test_an_error_in_the_middle_writes_nothing(queue: Queue, send: Task[..., None], good: int) -> None:
    with pytest.raises(WrongArgumentType):
        queue.enqueue_many(_calls_then_error(send, good))
    assert queue.jobs() == []
    with pytest.raises(WrongArgumentType):
        asyncio.run(queue.aenqueue_many(_calls_then_error(send, good)))  # type: ignore[arg-type]
    assert queue.jobs() == []
    assert len(queue.enqueue_many([send.call(number=1)])) == 1, "and the pool's connection is fit for the next call"


def test_an_error_in_the_middle_of_the_callers_transaction(queue: Queue, send: Task[..., None], dsn: str) -> None:
    """It is the caller's to roll back; a savepoint of the caller's is enough."""
    with psycopg.connect(dsn) as conn:
        queue.enqueue_many([send.call(number=-1)], conn=conn)
        with pytest.raises(WrongArgumentType), conn.transaction():
            queue.enqueue_many(_calls_then_error(send, PORTION_JOBS + 5), conn=conn)
        conn.commit()
    assert [job.args for job in queue.jobs()] == [{"number": -1}]


def test_joins_the_callers_transaction(queue: Queue, send: Task[..., None], dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        ids = queue.enqueue_many((send.call(number=number) for number in range(PORTION_JOBS + 500)), conn=conn)
        assert len(ids) == PORTION_JOBS + 500
        assert queue.jobs() == []
        conn.rollback()
        assert queue.jobs() == []
        ids = queue.enqueue_many((send.call(number=number) for number in range(PORTION_JOBS + 500)), conn=conn)
        conn.commit()
    assert [job.id for job in queue.jobs(limit=2)] == [ids[-1], ids[-2]]


def test_a_generator_may_use_the_same_connection(queue: Queue, send: Task[..., None], dsn: str) -> None:
    with psycopg.connect(dsn) as conn:

        def read() -> Iterator[Call]:
            for (number,) in conn.execute("SELECT g FROM generate_series(1, 2500) g").fetchall():
                conn.execute("SELECT 1")
                yield send.call(number=number)

        assert len(queue.enqueue_many(read(), conn=conn)) == 2500


@pytest.mark.timeout(300)  # tracing every allocation is slow
def test_a_stream_stays_a_stream(queue: Queue, send: Task[..., None]) -> None:
    """100,000 calls: beside the ids, memory for some thousand of them."""
    queue.enqueue_many([send.call(number=-1)])
    tracemalloc.start()
    try:
        ids = queue.enqueue_many(send.call(number=number) for number in range(100_000))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(ids) == 100_000
    beside = most - len(ids) * (32 + 8) * 1.15  # an int, its place in a list, and the room a list keeps to grow
    assert beside < 5_000_000, f"{most:,} bytes at the peak"


def test_large_payloads_go_in_smaller_portions(queue: Queue, send: Task[..., None]) -> None:
    ids = queue.enqueue_many(send.call(number=number, text="x" * 1_000_000) for number in range(12))
    assert len(ids) == 12
    with pytest.raises(PayloadTooLarge):
        queue.enqueue_many(send.call(number=number, text="x" * 1_100_000) for number in range(12))
    assert len(queue.jobs()) == 12


class Order(pydantic.BaseModel):
    number: int
    note: str

    def model_dump_json(self, **given: Any) -> str:  # type: ignore[override]
        return super().model_dump_json(**{**given, "indent": 2})


def test_json_that_is_laid_out_over_lines(queue: Queue, dsn: str) -> None:
    """Arguments travel a line each, and a model that writes its own JSON may take more than one."""

    @queue.task
    def keep(order: Order) -> None: ...

    ids = queue.enqueue_many(keep.call(order=Order(number=number, note="two\nlines")) for number in range(3))
    with psycopg.connect(dsn) as conn:
        stored = dict(conn.execute("SELECT id, args->'order' FROM pgjobq.job").fetchall())
    assert [stored[job] for job in ids] == [{"number": number, "note": "two\nlines"} for number in range(3)]


def test_awaited(queue: Queue, send: Task[..., None], dsn: str) -> None:
    async def stream() -> AsyncIterator[Call]:
        for number in range(2200):
            yield send.call(number=number)

    async def scene() -> tuple[list[int], list[int], list[int]]:
        one = await queue.aenqueue_many(stream())
        two = await queue.aenqueue_many(send.call(number=number) for number in range(2200, 2300))
        async with await psycopg.AsyncConnection.connect(dsn) as conn:
            three = await queue.aenqueue_many([send.call(number=2300)], conn=conn)
            assert len(await queue.ajobs(limit=10_000)) == 2300
            await conn.commit()
        await queue.aclose()
        return one, two, three

    ids = [*itertools.chain(*asyncio.run(scene()))]
    stored = _numbers(queue, dsn)
    assert [stored[job] for job in ids] == list(range(2301))
