"""The shop's connections: a pool for the pages, and one connection at a time for the tasks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import psycopg
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from .settings import ShopSettings

Conn = psycopg.Connection[TupleRow]
AsyncConn = psycopg.AsyncConnection[TupleRow]


def install(conn: Conn) -> None:
    """Create the shop's tables where they are missing. pgjobq's own come from `queue.migrate()`."""
    conn.execute(Path(__file__).with_name("schema.sql").read_bytes())


def page_pool(dsn: str) -> AsyncConnectionPool[AsyncConn]:
    """The web application's pool, not yet open: its life is the application's."""
    return AsyncConnectionPool(dsn, min_size=1, max_size=10, open=False, name="shop-pages")


@contextmanager
def transaction() -> Iterator[Conn]:
    """For plain tasks: a connection of its own whose transaction commits at the end of the block.

    Opening one costs about 3 ms, little beside sending an email; it is the simplest thing that is right in
    whatever thread or process the worker runs the task. A busier shop keeps a pool here.
    """
    with psycopg.connect(ShopSettings.from_environ().dsn) as conn:
        yield conn


@asynccontextmanager
async def aconnection() -> AsyncIterator[AsyncConn]:
    """For async tasks that wait for others in between: each statement commits by itself, nothing stays locked."""
    async with await psycopg.AsyncConnection.connect(ShopSettings.from_environ().dsn, autocommit=True) as conn:
        yield conn


@asynccontextmanager
async def atransaction() -> AsyncIterator[AsyncConn]:
    """For async tasks: the same, awaited."""
    async with await psycopg.AsyncConnection.connect(ShopSettings.from_environ().dsn) as conn:
        yield conn
