"""psycopg's pipeline mode: statements that are sent before the answers to earlier ones are read."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from kinds.caller import Shop

pytest_plugins = ["kinds.fixtures"]

INSERT = "INSERT INTO orders VALUES (%s)"


def test_enqueue_between_statements_that_are_under_way(shop: Shop) -> None:
    with psycopg.connect(shop.dsn) as conn:
        with conn.pipeline():
            conn.execute(INSERT, [1])
            first = shop.ship.using(conn=conn).enqueue(order=1)
            own = conn.execute("SELECT count(*) FROM orders")
            second = shop.ship.using(conn=conn).enqueue(order=2)
            assert own.fetchone() == (1,)
            assert second.id > first.id
            assert shop.jobs() == []
        conn.commit()
    assert (shop.orders(), shop.jobs(), shop.transactions()) == ([1], [1, 2], 1)


def test_rolled_back_transaction_within_a_pipeline(shop: Shop) -> None:
    with psycopg.connect(shop.dsn) as conn, conn.pipeline(), conn.transaction(force_rollback=True):
        conn.execute(INSERT, [1])
        shop.ship.using(conn=conn).enqueue(order=1)
    assert (shop.orders(), shop.jobs()) == ([], [])


def test_awaited(shop: Shop) -> None:
    async def scene() -> None:
        async with await psycopg.AsyncConnection.connect(shop.dsn) as conn:
            async with conn.pipeline(), conn.transaction():
                await conn.execute(INSERT, [1])
                await asyncio.gather(*(shop.ship.using(conn=conn).aenqueue(order=order) for order in (1, 2, 3)))
            assert shop.jobs() == [1, 2, 3]

    asyncio.run(scene())
    assert shop.transactions() == 1


def test_the_callers_own_mistake_stays_its_own(shop: Shop) -> None:
    """The answer to an earlier statement is read while ours waits for its own: it must not pass for our schema.

    Which of the two errors psycopg raises, and whether here or at the pipeline's end, depends on how soon the server
    has answered.
    """
    with psycopg.connect(shop.dsn) as conn:
        with pytest.raises((psycopg.errors.UndefinedTable, psycopg.errors.PipelineAborted)), conn.pipeline():
            conn.execute("SELECT * FROM nosuchtable")
            shop.ship.using(conn=conn).enqueue(order=1)
        conn.rollback()
        shop.ship.using(conn=conn).enqueue(order=2)
        conn.commit()
    assert shop.jobs() == [2]
