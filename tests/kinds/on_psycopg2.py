"""psycopg2: its connection and its cursor."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg2
import psycopg2.extensions

from kinds.caller import Caller, Kind, Opener, closing


class OnConnection(Caller):
    def __init__(self, own: Any, conn: Any) -> None:
        self.own, self.conn = own, conn

    async def sql(self, text: str) -> list[Any]:
        with psycopg2.extensions.cursor(self.own) as cursor:
            cursor.execute(text)
            return cursor.fetchall() if cursor.description else []

    async def commit(self) -> None:
        self.own.commit()

    async def rollback(self) -> None:
        self.own.rollback()

    @asynccontextmanager
    async def undone(self) -> AsyncIterator[None]:
        await self.sql("SAVEPOINT here")
        yield
        await self.sql("ROLLBACK TO SAVEPOINT here")


def opener(given: Callable[[Any], Any] = lambda own: own, **options: Any) -> Opener:
    @asynccontextmanager
    async def opened(dsn: str, autocommit: bool) -> AsyncIterator[Caller]:
        own = psycopg2.connect(dsn, **options)
        own.autocommit = autocommit
        async with closing(OnConnection(own, given(own)), own.close) as caller:
            yield caller

    return opened


KINDS = [
    Kind("psycopg2-connection", opener()),
    Kind("psycopg2-cursor", opener(lambda own: own.cursor())),
]
