"""The connection is lost before, between and after an enqueue: the order and its jobs are there, or neither."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from pgjobq import Queue
from pgjobq.task import Task

OUR_BACKENDS = """
SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


@pytest.fixture
def onlooker(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("CREATE TABLE orders (id int PRIMARY KEY)")
        yield conn


@pytest.fixture
def send(queue: Queue) -> Task[..., None]:
    @queue.task
    def send(order: int) -> None: ...

    return send


def _there(onlooker: psycopg.Connection[Any]) -> tuple[list[int], list[int]]:
    orders = [order for (order,) in onlooker.execute("SELECT id FROM orders ORDER BY 1").fetchall()]
    jobs = [
        order for (order,) in onlooker.execute("SELECT (args->>'order')::int FROM pgjobq.job ORDER BY 1").fetchall()
    ]
    return orders, jobs


def _kill(onlooker: psycopg.Connection[Any], conn: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> None:
    assert onlooker.execute("SELECT pg_terminate_backend(%s, 20000)", [conn.info.backend_pid]).fetchone() == (True,)


STEPS = ["order", "first job", "second job", "commit"]


@pytest.mark.parametrize("lost_before", [*STEPS, "nothing"])
def test_all_or_nothing(onlooker: psycopg.Connection[Any], send: Task[..., None], dsn: str, lost_before: str) -> None:
    conn = psycopg.connect(dsn)
    actions = {
        "order": lambda: conn.execute("INSERT INTO orders VALUES (1)"),
        "first job": lambda: send.using(conn=conn).enqueue(order=1),
        "second job": lambda: send.using(conn=conn).enqueue(order=1),
        "commit": conn.commit,
    }
    try:
        for step in STEPS:
            if step == lost_before:
                _kill(onlooker, conn)
                with pytest.raises(psycopg.OperationalError):
                    actions[step]()  # type: ignore[no-untyped-call]
                break
            actions[step]()  # type: ignore[no-untyped-call]
    finally:
        conn.close()
    assert _there(onlooker) == (([1], [1, 1]) if lost_before == "nothing" else ([], []))


@pytest.mark.parametrize("lost_before", [*STEPS, "nothing"])
def test_all_or_nothing_awaited(
    onlooker: psycopg.Connection[Any], send: Task[..., None], queue: Queue, dsn: str, lost_before: str
) -> None:
    async def scene() -> None:
        conn = await psycopg.AsyncConnection.connect(dsn)
        actions = {
            "order": lambda: conn.execute("INSERT INTO orders VALUES (1)"),
            "first job": lambda: send.using(conn=conn).aenqueue(order=1),
            "second job": lambda: queue.aenqueue_many([send.call(order=1)], conn=conn),
            "commit": conn.commit,
        }
        try:
            for step in STEPS:
                if step == lost_before:
                    _kill(onlooker, conn)
                    with pytest.raises(psycopg.OperationalError):
                        await actions[step]()  # type: ignore[no-untyped-call]
                    break
                await actions[step]()  # type: ignore[no-untyped-call]
        finally:
            await conn.close()

    asyncio.run(scene())
    assert _there(onlooker) == (([1], [1, 1]) if lost_before == "nothing" else ([], []))


def test_lost_in_the_middle_of_a_stream(
    onlooker: psycopg.Connection[Any], send: Task[..., None], queue: Queue, dsn: str
) -> None:
    conn = psycopg.connect(dsn)

    def calls() -> Any:
        for number in range(3000):
            if number == 1500:
                _kill(onlooker, conn)
            yield send.call(order=number)

    with pytest.raises(psycopg.OperationalError):
        queue.enqueue_many(calls(), conn=conn)
    conn.close()
    assert _there(onlooker) == ([], [])


def test_lost_in_the_middle_of_a_stream_on_the_queues_own(
    onlooker: psycopg.Connection[Any], send: Task[..., None], queue: Queue
) -> None:
    def calls() -> Any:
        for number in range(3000):
            if number == 1500:
                onlooker.execute(OUR_BACKENDS)
            yield send.call(order=number)

    with pytest.raises(psycopg.OperationalError):
        queue.enqueue_many(calls())
    assert _there(onlooker) == ([], [])
    assert len(queue.enqueue_many([send.call(order=1)])) == 1


def test_the_own_pool_recovers_on_the_next_call(
    onlooker: psycopg.Connection[Any], send: Task[..., None], queue: Queue
) -> None:
    """No call fails for a connection that died while it lay in the pool."""
    for number in range(3):
        send.enqueue(order=number)
        assert onlooker.execute(OUR_BACKENDS).fetchall() != []
    send.enqueue(order=3)
    assert _there(onlooker)[1] == [0, 1, 2, 3]


def test_the_own_async_pool_recovers_on_the_next_call(
    onlooker: psycopg.Connection[Any], send: Task[..., None], queue: Queue
) -> None:
    async def scene() -> None:
        for number in range(3):
            await send.aenqueue(order=number)
            assert onlooker.execute(OUR_BACKENDS).fetchall() != []
        await send.aenqueue(order=3)
        await queue.aclose()

    asyncio.run(scene())
    assert _there(onlooker)[1] == [0, 1, 2, 3]


def test_commit_rollback_and_savepoints(onlooker: psycopg.Connection[Any], send: Task[..., None], dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute("INSERT INTO orders VALUES (1)")
        send.using(conn=conn).enqueue(order=1)
        assert _there(onlooker) == ([], [])
        conn.commit()
        assert _there(onlooker) == ([1], [1])
        conn.execute("INSERT INTO orders VALUES (2)")
        send.using(conn=conn).enqueue(order=2)
        conn.rollback()
        assert _there(onlooker) == ([1], [1])
        with conn.transaction():
            send.using(conn=conn).enqueue(order=3)
            with conn.transaction(force_rollback=True):
                conn.execute("INSERT INTO orders VALUES (4)")
                send.using(conn=conn).enqueue(order=4)
            with pytest.raises(psycopg.errors.UniqueViolation), conn.transaction():
                send.using(conn=conn).enqueue(order=5)
                conn.execute("INSERT INTO orders VALUES (1)")
            conn.execute("INSERT INTO orders VALUES (3)")
    assert _there(onlooker) == ([1, 3], [1, 3])


def test_an_enqueue_alone_begins_the_callers_transaction(
    onlooker: psycopg.Connection[Any], send: Task[..., None], dsn: str
) -> None:
    with psycopg.connect(dsn) as conn:
        send.using(conn=conn).enqueue(order=1)
        assert conn.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
        conn.rollback()
    assert _there(onlooker) == ([], [])
