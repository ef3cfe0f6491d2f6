"""An application with a connection of some kind, doing to it what applications do; and the shop it belongs
to.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
from psycopg import sql

from pgjobq import EnqueuedJob, Queue

T = TypeVar("T")
TABLES = """
SELECT schemaname, tablename FROM pg_tables
WHERE schemaname IN ('pgjobq', 'public') AND tablename <> 'migration'
"""
Opener = Callable[[str, bool], AbstractAsyncContextManager["Caller"]]


class Shop:
    """The queue, one task, the shop's own table, and an onlooker who sees only what is committed."""

    def __init__(self, dsn: str, onlooker: psycopg.Connection[Any], schema: str = "pgjobq") -> None:
        self.dsn = dsn
        self.onlooker = onlooker
        self.queue = Queue(dsn, schema=schema)
        self.ship = self.queue.task(_ship)
        onlooker.execute("CREATE TABLE IF NOT EXISTS public.orders (id int PRIMARY KEY)")

    def jobs(self) -> list[int]:
        """The orders that have a committed job, sorted."""
        found = self.onlooker.execute("SELECT (args->>'order')::int FROM pgjobq.job ORDER BY 1").fetchall()
        return [order for (order,) in found]

    def clear(self) -> None:
        """Forget all orders and jobs."""
        for name in self.onlooker.execute(TABLES).fetchall():
            self.onlooker.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(*name)))

    def orders(self) -> list[int]:
        """The committed orders."""
        return [order for (order,) in self.onlooker.execute("SELECT id FROM orders ORDER BY 1").fetchall()]

    def transactions(self) -> int:
        """How many transactions wrote the committed orders and jobs."""
        rows = "SELECT xmin::text AS x FROM orders UNION ALL SELECT xmin::text FROM pgjobq.job"
        row = self.onlooker.execute(f"SELECT count(DISTINCT x) FROM ({rows}) AS written").fetchone()
        assert row is not None
        return int(row[0])


def _ship(order: int, note: str = "") -> None:
    """The task; nobody runs it here."""


class Caller(ABC):
    """What an application does with its connection, in its library's own way. `conn` is what it gives as
    `conn=`.

    Everything is a coroutine; those of a sync kind never really wait, so `play` runs them without an event
    loop.
    """

    awaited = False
    conn: Any

    @abstractmethod
    async def sql(self, text: str) -> list[Any]:
        """A statement of its own."""

    @abstractmethod
    async def commit(self) -> None: ...

    @abstractmethod
    async def rollback(self) -> None: ...

    @abstractmethod
    def undone(self) -> AbstractAsyncContextManager[None]:
        """A savepoint that is rolled back at the end."""

    async def do(self, plain: Callable[[Any], T], awaited: Callable[[Any], Awaitable[T]]) -> T:
        """Call the twin that fits this kind."""
        return await awaited(self.conn) if self.awaited else plain(self.conn)

    async def enqueue(self, shop: Shop, order: int, note: str = "") -> EnqueuedJob:
        """Enqueue the order's job through the connection."""
        return await self.do(
            lambda conn: shop.ship.using(conn=conn, ref=f"order:{order}").enqueue(order=order, note=note),
            lambda conn: shop.ship.using(conn=conn, ref=f"order:{order}").aenqueue(order=order, note=note),
        )

    async def write(self, order: int) -> None:
        """Insert an order."""
        await self.sql(f"INSERT INTO public.orders VALUES ({order})")


@dataclass(frozen=True)
class Kind:
    """One kind of connection: its name in reports, how it is opened, and whether its calls are awaited."""

    name: str
    open: Opener
    awaited: bool = False
    autocommit: bool = True  # it can be opened in autocommit, too

    def __str__(self) -> str:
        return self.name


def play(kind: Kind, scenario: Coroutine[Any, Any, T]) -> T:
    """Run a scenario: on an event loop for awaited kinds, without one for the others (Django refuses to be
    called where a loop runs).
    """
    if kind.awaited:
        return asyncio.run(scenario)
    try:
        scenario.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    raise AssertionError("a scenario for a sync kind waited for something")


@asynccontextmanager
async def closing(caller: Any, close: Callable[[], Any]) -> AsyncIterator[Any]:
    """Give the caller, then close what it stands on."""
    try:
        yield caller
    finally:
        ended = close()
        if ended is not None:
            await ended
