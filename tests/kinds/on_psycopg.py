"""psycopg 3: connections and cursors, sync and async."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from kinds.caller import Caller, Kind, Opener, closing


class OnConnection(Caller):
    def __init__(self, own: psycopg.Connection[Any], conn: Any) -> None:
        self.own, self.conn = own, conn

    async def sql(self, text: str) -> list[Any]:
        cursor = psycopg.Cursor(self.own, row_factory=tuple_row).execute(text)
        return cursor.fetchall() if cursor.description else []

    async def commit(self) -> None:
        self.own.commit()

    async def rollback(self) -> None:
        self.own.rollback()

    @asynccontextmanager
    async def undone(self) -> AsyncIterator[None]:
        with self.own.transaction(force_rollback=True):
            yield


class OnAsyncConnection(Caller):
    awaited = True

    def __init__(self, own: psycopg.AsyncConnection[Any], conn: Any) -> None:
        self.own, self.conn = own, conn

    async def sql(self, text: str) -> list[Any]:
        cursor = await psycopg.AsyncCursor(self.own, row_factory=tuple_row).execute(text)
        return await cursor.fetchall() if cursor.description else []

    async def commit(self) -> None:
        await self.own.commit()

    async def rollback(self) -> None:
        await self.own.rollback()

    @asynccontextmanager
    async def undone(self) -> AsyncIterator[None]:
        async with self.own.transaction(force_rollback=True):
            yield


def _same(own: Any) -> Any:
    return own


def opener(given: Callable[[Any], Any] = _same, **options: Any) -> Opener:
    """Opens a Connection with these options and gives `given(connection)` as conn=."""

    @asynccontextmanager
    async def opened(dsn: str, autocommit: bool) -> AsyncIterator[Caller]:
        own = psycopg.connect(dsn, autocommit=autocommit, **options)
        async with closing(OnConnection(own, given(own)), own.close) as caller:
            yield caller
            if caller.conn is not own:  # psycopg warns of a server-side cursor that is left open
                caller.conn.close()

    return opened


def async_opener(given: Callable[[Any], Any] = _same, **options: Any) -> Opener:
    """The same with an AsyncConnection."""

    @asynccontextmanager
    async def opened(dsn: str, autocommit: bool) -> AsyncIterator[Caller]:
        own = await psycopg.AsyncConnection.connect(dsn, autocommit=autocommit, **options)
        async with closing(OnAsyncConnection(own, given(own)), own.close) as caller:
            yield caller

    return opened


KINDS = [
    Kind("psycopg-Connection", opener()),
    Kind("psycopg-Cursor", opener(lambda own: own.cursor())),
    Kind("psycopg-ClientCursor", opener(psycopg.ClientCursor)),
    Kind("psycopg-ServerCursor", opener(lambda own: own.cursor("named"))),
    Kind("psycopg-AsyncConnection", async_opener(), awaited=True),
    Kind("psycopg-AsyncCursor", async_opener(lambda own: own.cursor()), awaited=True),
]
