"""What is not taken as `conn=`, and what the error says: what it got, what to do, what is taken."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import asyncpg
import django.db
import psycopg
import psycopg2
import psycopg2.extras
import psycopg_pool
import pytest
import sqlalchemy as sa
from django.db.backends.sqlite3.base import DatabaseWrapper as SqliteWrapper
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from kinds import KINDS, Caller, Kind, Shop, play
from pgjobq import Queue, SchemaMissing, UnsupportedConnection

pytest_plugins = ["kinds.fixtures"]

queue = Queue()  # never connects here


@queue.task
def ship(order: int) -> None:
    """Never run."""


URL = "postgresql+psycopg://ann:topsecret@db/shop"
ENGINE = sa.create_engine(URL)
ASYNC_ENGINE = create_async_engine(URL)


class Base(DeclarativeBase): ...


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)


def gives() -> Any:
    yield


async def connects() -> None:
    """Stands for `AsyncConnection.connect(…)` without await."""


def coroutine() -> Any:
    pending = connects()
    pending.close()
    return pending


def sqlite_by_sqlalchemy() -> Any:
    return sa.create_engine("sqlite://").connect()


NOT_TAKEN: list[tuple[str, Callable[[], Any], str, str]] = [
    # name, what, how it is called in the error, the cure
    ("a DSN", lambda: "postgresql://ann:topsecret@db/shop", "a str", "Queue(dsn)"),
    ("a class", lambda: psycopg.Connection, "a type", "open connection"),
    ("a coroutine", coroutine, "a coroutine", "write `await`"),
    ("a generator", gives, "a generator", "that it yields"),
    ("a number", lambda: 42, "an int", "takes: "),
    (
        "a pool",
        lambda: psycopg_pool.ConnectionPool(URL, open=False),
        "ConnectionPool",
        "pool.connection() as conn",
    ),
    (
        "a null pool",
        lambda: psycopg_pool.NullConnectionPool(URL, open=False),
        "NullConnectionPool",
        "pool.connection()",
    ),
    (
        "an async pool",
        lambda: psycopg_pool.AsyncConnectionPool(URL, open=False),
        "AsyncConnectionPool",
        "apool=",
    ),
    ("an Engine", lambda: ENGINE, "sqlalchemy.engine.base.Engine", "with engine.begin() as conn"),
    ("an AsyncEngine", lambda: ASYNC_ENGINE, "AsyncEngine", "async with engine.begin() as conn"),
    ("a sessionmaker", lambda: sessionmaker(ENGINE), "sessionmaker", "with Session() as session"),
    (
        "an async_sessionmaker",
        lambda: async_sessionmaker(ASYNC_ENGINE),
        "async_sessionmaker",
        "async with Session()",
    ),
    ("Django's connections", lambda: django.db.connections, "ConnectionHandler", "connections['default']"),
    ("Django's atomic", django.db.transaction.atomic, "django.db.transaction.Atomic", "django.db.connection"),
    ("sqlite3", lambda: sqlite3.Connection(":memory:"), "a sqlite3.Connection", "takes: "),
    ("a queue", lambda: queue, "a pgjobq.queue.Queue", "takes: "),
]


@pytest.mark.parametrize(("given", "called", "cure"), [row[1:] for row in NOT_TAKEN], ids=[row[0] for row in NOT_TAKEN])
@pytest.mark.parametrize("awaited", [False, True], ids=["sync", "awaited"])
def test_not_taken(given: Callable[[], Any], called: str, cure: str, awaited: bool) -> None:
    conn = given()
    job = ship.using(conn=conn)
    with pytest.raises(UnsupportedConnection) as caught:
        asyncio.run(job.aenqueue(order=1)) if awaited else job.enqueue(order=1)
    sentence = str(caught.value)
    assert called in sentence
    assert cure in sentence
    assert ("; aenqueue() takes: psycopg Async" if awaited else "; enqueue() takes: psycopg Conn") in sentence
    assert "topsecret" not in sentence
    if hasattr(conn, "close") and not isinstance(conn, type):
        closed = conn.close()
        if asyncio.iscoroutine(closed):
            asyncio.run(closed)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "run_sync" not in kind.name], ids=str)
def test_the_other_twin(kind: Kind, shop: Shop) -> None:
    """A sync connection in aenqueue() is told to use enqueue(), and the reverse; nothing is sent."""

    async def scene() -> None:
        async with kind.open(shop.dsn, False) as caller:
            with pytest.raises(UnsupportedConnection) as caught:
                await _call_wrong_twin(kind, caller)
            sentence = str(caught.value)
            assert ("use `await aenqueue()`" if kind.awaited else "use enqueue()") in sentence
            assert ("; enqueue() takes: " if kind.awaited else "; aenqueue() takes: ") in sentence
            await caller.enqueue(shop, 1)
            await caller.commit()

    play(kind, scene())
    assert shop.jobs() == [1]


async def _call_wrong_twin(kind: Kind, caller: Caller) -> None:
    if kind.awaited:
        ship.using(conn=caller.conn).enqueue(order=1)
    else:
        await ship.using(conn=caller.conn).aenqueue(order=1)


def test_transactions_and_pipelines_are_not_connections(shop: Shop) -> None:
    with psycopg.connect(shop.dsn) as conn:
        with conn.transaction() as inner, pytest.raises(UnsupportedConnection, match=r"its \.connection"):
            ship.using(conn=inner).enqueue(order=1)
        with conn.pipeline() as inside, pytest.raises(UnsupportedConnection, match="the pipeline belongs to"):
            ship.using(conn=inside).enqueue(order=1)
    engine = sa.create_engine(shop.dsn.replace("postgresql://", "postgresql+psycopg://", 1))
    with (
        engine.connect() as given,
        given.begin() as inner,
        pytest.raises(UnsupportedConnection, match="belongs to"),
    ):
        ship.using(conn=inner).enqueue(order=1)
    with (
        Session(engine) as session,
        session.begin() as inner,
        pytest.raises(UnsupportedConnection, match="belongs"),
    ):
        ship.using(conn=inner).enqueue(order=1)
    engine.dispose()


def test_asyncpg_near_misses(shop: Shop) -> None:
    async def scene() -> None:
        async with asyncpg.create_pool(shop.dsn, min_size=1, max_size=1) as pool:
            with pytest.raises(UnsupportedConnection, match=r"pool\.acquire\(\) as conn"):
                await ship.using(conn=pool).aenqueue(order=1)
            pending = pool.acquire()
            with pytest.raises(UnsupportedConnection, match="enter it first"):
                await ship.using(conn=pending).aenqueue(order=1)
            async with pool.acquire() as conn, conn.transaction() as _:
                with pytest.raises(UnsupportedConnection, match="belongs to"):
                    await ship.using(conn=conn.transaction()).aenqueue(order=1)

    asyncio.run(scene())


def test_psycopg2_in_its_asynchronous_mode(shop: Shop) -> None:
    own = psycopg2.connect(shop.dsn, async_=1)
    psycopg2.extras.wait_select(own)
    with pytest.raises(UnsupportedConnection, match="async_=1"):
        ship.using(conn=own).enqueue(order=1)
    own.close()


def test_other_databases() -> None:
    with sqlite_by_sqlalchemy() as conn, pytest.raises(UnsupportedConnection, match="leads to sqlite"):
        ship.using(conn=conn).enqueue(order=1)
    with pytest.raises(UnsupportedConnection, match="leads to sqlite"):
        ship.using(conn=SqliteWrapper({"NAME": ":memory:"}, "other")).enqueue(order=1)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_without_the_schema(kind: Kind, shop: Shop) -> None:
    """Whatever the driver calls an undefined schema, the error is SchemaMissing, and the driver's is its
    cause.
    """
    elsewhere = Queue(shop.dsn, schema="nowhere")
    task = elsewhere.task(name="ship")(lambda: None)

    async def scene() -> None:
        async with kind.open(shop.dsn, False) as caller:
            with pytest.raises(SchemaMissing, match=r'schema "nowhere" does not exist.*pgjobq migrate') as caught:
                await caller.do(
                    lambda conn: task.using(conn=conn).enqueue(),
                    lambda conn: task.using(conn=conn).aenqueue(),
                )
            assert caught.value.__cause__ is not None
            await caller.rollback()

    play(kind, scene())


def test_closed_connections_give_the_drivers_error(shop: Shop) -> None:
    conn = psycopg.connect(shop.dsn)
    conn.close()
    with pytest.raises(psycopg.OperationalError, match="closed"):
        ship.using(conn=conn).enqueue(order=1)
    own = psycopg2.connect(shop.dsn)
    own.close()
    with pytest.raises(psycopg2.InterfaceError, match="closed"):
        ship.using(conn=own).enqueue(order=1)
    engine = sa.create_engine(shop.dsn.replace("postgresql://", "postgresql+psycopg://", 1))
    given = engine.connect()
    given.close()
    with pytest.raises(sa.exc.ResourceClosedError):
        ship.using(conn=given).enqueue(order=1)
    engine.dispose()

    async def awaited() -> None:
        conn = await psycopg.AsyncConnection.connect(shop.dsn)
        await conn.close()
        with pytest.raises(psycopg.OperationalError, match="closed"):
            await ship.using(conn=conn).aenqueue(order=1)
        other = await asyncpg.connect(shop.dsn)
        await other.close()
        with pytest.raises(asyncpg.InterfaceError, match="closed"):
            await ship.using(conn=other).aenqueue(order=1)

    asyncio.run(awaited())


def test_pending_objects_of_a_session_are_not_flushed(shop: Shop) -> None:
    engine = sa.create_engine(shop.dsn.replace("postgresql://", "postgresql+psycopg://", 1))
    with Session(engine) as session:
        session.add(Order(id=7))
        shop.ship.using(conn=session).enqueue(order=7)
        assert len(session.new) == 1
        session.commit()
    engine.dispose()
    assert (shop.orders(), shop.jobs(), shop.transactions()) == ([7], [7], 1)


def test_nothing_is_imported_for_kinds_that_are_not_used() -> None:
    """An application with psycopg alone never pays for SQLAlchemy, Django, asyncpg or psycopg2, even
    installed.
    """
    code = (
        "import sys, pgjobq; pgjobq.Queue('')\n"
        "try: pgjobq.run.execute(object(), type('S', (), {'name': 'enqueue'}))\n"
        "except pgjobq.UnsupportedConnection: pass\n"
        "print(sorted({'sqlalchemy', 'django', 'asyncpg', 'psycopg2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
