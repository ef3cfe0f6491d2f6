"""asyncpg: its connection, and one acquired from a pool."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from kinds.caller import Caller, Kind, Opener


class OnConnection(Caller):
    awaited = True

    def __init__(self, conn: Any) -> None:
        self.conn = conn
        self.transaction: Any = None

    async def begin(self) -> None:
        self.transaction = self.conn.transaction()
        await self.transaction.start()

    async def sql(self, text: str) -> list[Any]:
        rows: list[Any] = [tuple(row) for row in await self.conn.fetch(text, record_class=asyncpg.Record)]
        return rows

    async def commit(self) -> None:
        await self.transaction.commit()
        await self.begin()

    async def rollback(self) -> None:
        await self.transaction.rollback()
        await self.begin()

    @asynccontextmanager
    async def undone(self) -> AsyncIterator[None]:
        savepoint = self.conn.transaction()
        await savepoint.start()
        yield
        await savepoint.rollback()


def opener(dress: Callable[[Any], Awaitable[None]] | None = None, *, pool: bool = False, **options: Any) -> Opener:
    @asynccontextmanager
    async def opened(dsn: str, autocommit: bool) -> AsyncIterator[Caller]:
        async with _pooled(dsn, options) if pool else _plain(dsn, options) as conn:
            if dress is not None:
                await dress(conn)
            caller = OnConnection(conn)
            if not autocommit:
                await caller.begin()
            yield caller

    return opened


@asynccontextmanager
async def _plain(dsn: str, options: Any) -> AsyncIterator[Any]:
    conn = await asyncpg.connect(dsn, **options)
    try:
        yield conn
    finally:
        await conn.close()


@asynccontextmanager
async def _pooled(dsn: str, options: Any) -> AsyncIterator[Any]:
    async with asyncpg.create_pool(dsn, min_size=1, max_size=1, **options) as pool, pool.acquire() as conn:
        yield conn


KINDS = [
    Kind("asyncpg-Connection", opener(), awaited=True),
    Kind("asyncpg-PoolConnectionProxy", opener(pool=True), awaited=True),
]
