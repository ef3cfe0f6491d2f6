"""What must hold on every kind of connection, each scenario written once.

A scenario gets the open caller, inside a transaction unless its name says otherwise, and the shop to look at.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from kinds.caller import Caller, Shop
from pgjobq import PgjobqError, Queue, QueueFull, SchemaMissing, run
from pgjobq.run.missing import sqlstate_of
from pgjobq.statements import Statement

__all__ = ["IN_AUTOCOMMIT", "IN_TRANSACTION", "Scenario"]

Scenario = Callable[[Caller, Shop], Awaitable[None]]

AWKWARD = "50% of %s, %(x)s, :name, $1, {}, \\n, ', \", ü, 🐘, \t, E'\\\\'"
SETTINGS = "SELECT name, setting FROM pg_settings ORDER BY name"
ABORTED = "25P02"


async def invisible_before_commit(caller: Caller, shop: Shop) -> None:
    await caller.enqueue(shop, 1)
    assert shop.jobs() == []
    await caller.commit()
    assert shop.jobs() == [1]


async def gone_on_rollback(caller: Caller, shop: Shop) -> None:
    await caller.write(1)
    await caller.enqueue(shop, 1)
    await caller.rollback()
    assert (shop.orders(), shop.jobs()) == ([], [])
    await caller.enqueue(shop, 2)
    await caller.commit()
    assert (shop.orders(), shop.jobs()) == ([], [2])


async def enqueue_alone_is_rolled_back(caller: Caller, shop: Shop) -> None:
    """Nothing else was said on the connection: the enqueue itself must have begun the transaction."""
    await caller.enqueue(shop, 1)
    await caller.rollback()
    assert shop.jobs() == []


async def a_full_queue_is_refused_and_a_savepoint_survives_it(caller: Caller, shop: Shop) -> None:
    """The server says it in its own words; what is raised is ours, whatever the driver."""
    shop.queue.limit("default", waiting=1)
    try:
        await caller.enqueue(shop, 1)
        async with caller.undone():
            with pytest.raises(QueueFull, match="the queue 'default' is full: 1 jobs wait in it, and its limit is 1"):
                await caller.enqueue(shop, 2)
        await caller.commit()
    finally:
        shop.queue.unlimit("default")
    assert shop.jobs() == [1]


async def savepoint_takes_only_its_own(caller: Caller, shop: Shop) -> None:
    await caller.write(1)
    await caller.enqueue(shop, 1)
    async with caller.undone():
        await caller.write(2)
        await caller.enqueue(shop, 2)
    await caller.enqueue(shop, 3)
    await caller.commit()
    assert (shop.orders(), shop.jobs()) == ([1], [1, 3])


async def one_transaction_with_the_callers_own(caller: Caller, shop: Shop) -> None:
    await caller.enqueue(shop, 1)
    await caller.write(1)
    await caller.enqueue(shop, 2)
    await caller.write(2)
    await caller.commit()
    assert (shop.orders(), shop.jobs()) == ([1, 2], [1, 2])
    assert shop.transactions() == 1


async def every_operation_joins(caller: Caller, shop: Shop) -> None:
    """What is not committed yet is seen, listed and cancelled through the connection, by nobody else."""
    queue, do = shop.queue, caller.do
    first = await caller.enqueue(shop, 1)
    calls = [shop.ship.call(order=order) for order in (2, 3)]
    more = await do(
        lambda conn: queue.enqueue_many(calls, conn=conn), lambda conn: queue.aenqueue_many(calls, conn=conn)
    )
    seen = await do(lambda conn: queue.jobs(conn=conn), lambda conn: queue.ajobs(conn=conn))
    assert [job.id for job in seen] == [more[1], more[0], first.id]
    job = await do(lambda conn: queue.get(first.id, conn=conn), lambda conn: queue.aget(first.id, conn=conn))
    assert job is not None
    assert (job.task, job.ref, job.args["order"]) == ("_ship", "order:1", 1)
    assert shop.queue.get(first.id) is None
    assert await do(lambda conn: queue.cancel(first.id, conn=conn), lambda conn: queue.acancel(first.id, conn=conn))
    assert await do(lambda conn: queue.retry(first.id, conn=conn), lambda conn: queue.aretry(first.id, conn=conn))
    assert not await do(lambda conn: queue.errors(first.id, conn=conn), lambda conn: queue.aerrors(first.id, conn=conn))
    assert not await do(lambda conn: queue.misplaced(conn=conn), lambda conn: queue.amisplaced(conn=conn))
    assert shop.jobs() == []
    await caller.commit()
    assert shop.jobs() == [1, 2, 3]


async def awkward_text_arrives_as_it_is(caller: Caller, shop: Shop) -> None:
    job = await caller.enqueue(shop, 1, AWKWARD)
    back = await caller.do(
        lambda conn: shop.queue.get(job.id, conn=conn), lambda conn: shop.queue.aget(job.id, conn=conn)
    )
    assert back is not None
    assert back.args == {"order": 1, "note": AWKWARD}
    await caller.commit()
    stored = shop.onlooker.execute("SELECT args->>'note' FROM pgjobq.job").fetchone()
    assert stored == (AWKWARD,)


async def any_statement_runs(caller: Caller, shop: Shop) -> None:
    """Parameters out of order, used twice, numbers and NULL; signs that mean something to some driver; no rows."""
    asked = Statement(
        "ask",
        "SELECT ($2::int - $1::int)::text, $2::text, $3::text, '100% $1' -- don't $4 % :x\n",
        (1, 20, None),
        lambda rows: [tuple(row) for row in rows],
    )
    told = Statement("tell", "INSERT INTO public.orders VALUES ($1::int)", (7,), lambda rows: [*rows])
    answers = [
        await caller.do(
            lambda conn, statement=statement: run.execute(conn, statement),
            lambda conn, statement=statement: run.aexecute(conn, statement),
        )
        for statement in (asked, told)
    ]
    assert answers == [[("19", "20", None, "100% $1")], []]
    await caller.commit()
    assert shop.orders() == [7]


async def settings_stay(caller: Caller, shop: Shop) -> None:
    await caller.sql("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
    await caller.sql("SET LOCAL search_path = pg_temp")
    await caller.sql("DO 'BEGIN END'")  # PL/pgSQL brings settings of its own when it is first used
    before = await caller.sql(SETTINGS)
    await caller.enqueue(shop, 1)
    assert await caller.sql(SETTINGS) == before
    assert ("transaction_isolation", "serializable") in [tuple(row) for row in before]
    await caller.commit()
    assert shop.jobs() == [1]


async def an_error_of_ours_leaves_the_transaction_as_the_driver_does(caller: Caller, shop: Shop) -> None:
    """The server refuses: the transaction has failed, and it is the caller's to end it."""
    elsewhere = Queue(shop.dsn, schema="nowhere")
    await caller.write(1)
    with pytest.raises(SchemaMissing, match="pgjobq migrate"):
        await caller.do(lambda conn: elsewhere.get(1, conn=conn), lambda conn: elsewhere.aget(1, conn=conn))
    await _fails_as_aborted(caller.sql("SELECT 1"))
    await caller.rollback()
    await caller.enqueue(shop, 2)
    await caller.commit()
    assert (shop.orders(), shop.jobs()) == ([], [2])


async def a_failed_transaction_is_the_drivers_error(caller: Caller, shop: Shop) -> None:
    with pytest.raises(Exception, match="division by zero"):
        await caller.sql("SELECT 1 / 0")
    await _fails_as_aborted(caller.enqueue(shop, 1))
    await caller.rollback()
    assert shop.jobs() == []


async def a_lost_connection_is_the_drivers_error(caller: Caller, shop: Shop) -> None:
    await caller.write(1)
    ((pid,),) = await caller.sql("SELECT pg_backend_pid()")
    assert shop.onlooker.execute("SELECT pg_terminate_backend(%s, 20000)", [pid]).fetchone() == (True,)
    with pytest.raises(Exception) as caught:
        await caller.enqueue(shop, 1)
    assert not isinstance(caught.value, (PgjobqError, AssertionError))
    assert type(caught.value).__module__.partition(".")[0] in (
        "psycopg",
        "psycopg2",
        "sqlalchemy",
        "django",
        "asyncpg",
    )
    assert (shop.orders(), shop.jobs()) == ([], [])


async def in_autocommit_it_is_there_at_once(caller: Caller, shop: Shop) -> None:
    await caller.enqueue(shop, 1)
    assert shop.jobs() == [1]
    await caller.write(1)
    assert shop.orders() == [1]
    await caller.enqueue(shop, 2)
    assert shop.jobs() == [1, 2]


async def _fails_as_aborted(statement: Awaitable[Any]) -> None:
    with pytest.raises(Exception) as caught:
        await statement
    assert not isinstance(caught.value, PgjobqError)
    assert sqlstate_of(caught.value) == ABORTED


IN_TRANSACTION: list[Scenario] = [
    invisible_before_commit,
    gone_on_rollback,
    enqueue_alone_is_rolled_back,
    savepoint_takes_only_its_own,
    a_full_queue_is_refused_and_a_savepoint_survives_it,
    one_transaction_with_the_callers_own,
    every_operation_joins,
    awkward_text_arrives_as_it_is,
    any_statement_runs,
    settings_stay,
    an_error_of_ours_leaves_the_transaction_as_the_driver_does,
    a_failed_transaction_is_the_drivers_error,
    a_lost_connection_is_the_drivers_error,
]
IN_AUTOCOMMIT: list[Scenario] = [in_autocommit_it_is_there_at_once]
