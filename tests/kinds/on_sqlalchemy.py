"""SQLAlchemy's and SQLModel's connections and sessions, over psycopg, psycopg2 and asyncpg."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import (
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import NullPool
from sqlmodel import Session as ModelSession
from sqlmodel.ext.asyncio.session import AsyncSession as AsyncModelSession

from kinds.caller import Caller, Kind, Opener, closing

T = TypeVar("T")
PLAIN = {"stream_results": False, "yield_per": None}  # an INSERT cannot run in a server-side cursor


class OnSync(Caller):
    """A Connection, Session or scoped_session: for what is done here they are alike."""

    def __init__(self, conn: Any) -> None:
        self.conn = conn

    async def sql(self, text: str) -> list[Any]:
        result = self.conn.execute(sa.text(text), execution_options=PLAIN)
        return [tuple(row) for row in result] if result.returns_rows else []

    async def commit(self) -> None:
        self.conn.commit()

    async def rollback(self) -> None:
        self.conn.rollback()

    @asynccontextmanager
    async def undone(self) -> AsyncIterator[None]:
        savepoint = self.conn.begin_nested()
        yield
        savepoint.rollback()


class OnAsync(Caller):
    """The awaited ones."""

    awaited = True

    def __init__(self, conn: Any) -> None:
        self.conn = conn

    async def sql(self, text: str) -> list[Any]:
        # SQLModel deprecates its own execute(); a session's connection is the same transaction.
        conn = await self.conn.connection() if isinstance(self.conn, AsyncModelSession) else self.conn
        result = await conn.execute(sa.text(text))
        return [tuple(row) for row in result] if result.returns_rows else []

    async def commit(self) -> None:
        await self.conn.commit()

    async def rollback(self) -> None:
        await self.conn.rollback()

    @asynccontextmanager
    async def undone(self) -> AsyncIterator[None]:
        savepoint = await self.conn.begin_nested()
        yield
        await savepoint.rollback()


class InRunSync(OnAsync):
    """Sync code under `run_sync`, which gets the sync face of an awaited connection."""

    async def do(self, plain: Callable[[Any], T], awaited: Callable[[Any], Awaitable[T]]) -> T:
        done: T = await self.conn.run_sync(plain)
        return done


class OnModelSession(OnSync):
    async def sql(self, text: str) -> list[Any]:
        return await OnSync(self.conn.connection()).sql(text)


def connection(driver: str) -> Opener:
    @asynccontextmanager
    async def opened(dsn: str, autocommit: bool) -> AsyncIterator[Caller]:
        engine = sa.create_engine(_url(dsn, driver), poolclass=NullPool)
        conn = engine.connect()
        if autocommit:
            conn = conn.execution_options(isolation_level="AUTOCOMMIT")
        async with closing(OnSync(conn), conn.close) as caller:
            yield caller

    return opened


def session(driver: str, make: Callable[[Any], Any], caller: type[OnSync] = OnSync) -> Opener:
    """A Session of some sort, bound to an engine."""

    @asynccontextmanager
    async def opened(dsn: str, autocommit: bool) -> AsyncIterator[Caller]:
        engine = sa.create_engine(_url(dsn, driver), poolclass=NullPool)
        conn = make(_in_autocommit(engine) if autocommit else engine)
        async with closing(caller(conn), conn.close) as made:
            yield made

    return opened


def async_connection(driver: str, caller: type[OnAsync] = OnAsync) -> Opener:
    @asynccontextmanager
    async def opened(dsn: str, autocommit: bool) -> AsyncIterator[Caller]:
        engine = create_async_engine(_url(dsn, driver), poolclass=NullPool)
        async with engine.connect() as conn:
            if autocommit:
                await conn.execution_options(isolation_level="AUTOCOMMIT")
            yield caller(conn)

    return opened


def async_session(driver: str, make: Callable[[Any], Any], caller: type[OnAsync] = OnAsync) -> Opener:
    @asynccontextmanager
    async def opened(dsn: str, autocommit: bool) -> AsyncIterator[Caller]:
        engine = create_async_engine(_url(dsn, driver), poolclass=NullPool)
        conn = make(_in_autocommit(engine) if autocommit else engine)
        async with closing(caller(conn), conn.close) as made:
            yield made

    return opened


def _url(dsn: str, driver: str) -> str:
    return dsn.replace("postgresql://", f"postgresql+{driver}://", 1)


def _in_autocommit(engine: Any) -> Any:
    return engine.execution_options(isolation_level="AUTOCOMMIT")


def _scoped(engine: Any) -> Any:
    return scoped_session(sessionmaker(engine))


def _async_scoped(engine: Any) -> Any:
    return async_scoped_session(async_sessionmaker(engine), scopefunc=lambda: None)


KINDS = [
    Kind("sqlalchemy-Connection-psycopg", connection("psycopg")),
    Kind("sqlalchemy-Connection-psycopg2", connection("psycopg2")),
    Kind("sqlalchemy-Session-psycopg", session("psycopg", Session)),
    Kind("sqlalchemy-Session-psycopg2", session("psycopg2", Session)),
    Kind("sqlalchemy-scoped_session", session("psycopg", _scoped)),
    Kind("sqlmodel-Session", session("psycopg", ModelSession, OnModelSession)),
    Kind("sqlalchemy-AsyncConnection-psycopg", async_connection("psycopg"), awaited=True),
    Kind("sqlalchemy-AsyncConnection-asyncpg", async_connection("asyncpg"), awaited=True),
    Kind("sqlalchemy-AsyncSession-psycopg", async_session("psycopg", AsyncSession), awaited=True),
    Kind("sqlalchemy-AsyncSession-asyncpg", async_session("asyncpg", AsyncSession), awaited=True),
    Kind("sqlalchemy-async_scoped_session", async_session("asyncpg", _async_scoped), awaited=True),
    Kind("sqlmodel-AsyncSession", async_session("asyncpg", AsyncModelSession), awaited=True),
    Kind("sqlalchemy-Connection-in-run_sync", async_connection("asyncpg", InRunSync), awaited=True),
    Kind("sqlalchemy-Session-in-run_sync", async_session("asyncpg", AsyncSession, InRunSync), awaited=True),
]
