"""SQLAlchemy: through `exec_driver_sql`, so that it begins, commits, rolls back, logs and reports as for any
statement.

A Session gives its own connection: that begins its transaction if there is none, and does not flush. Objects
that are pending stay pending until the caller flushes or commits; call `session.flush()` first to have their
ids. A Session bound to several databases must be able to say which one is meant; if not, give
`session.connection(bind_arguments={"mapper": Order})`.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, CursorResult
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session

from pgjobq.run.placeholders import arranged, as_dollars, as_format, texts
from pgjobq.run.refusal import unsupported
from pgjobq.statements import Rows, Statement

__all__ = ["afetch", "afetch_by_session", "fetch", "fetch_by_session"]

# Options of the caller's that mean their own queries: a statement that writes cannot run in a server-side
# cursor, and without parameters %% would stay doubled.
_OPTIONS = {"stream_results": False, "yield_per": None, "no_parameters": False}


def _spelled(conn: Connection | AsyncConnection, statement: Statement[Any]) -> tuple[str, tuple[str | None, ...]]:
    dialect = conn.dialect
    if dialect.name != "postgresql":
        raise unsupported(conn, f"it leads to {dialect.name}, and pgjobq's tables are in PostgreSQL")
    if dialect.paramstyle == "numeric_dollar":
        return as_dollars(statement.sql), tuple(texts(statement.params))
    sql, order = as_format(statement.sql)
    return sql, tuple(arranged(statement.params, order))


def _rows(result: CursorResult[Any]) -> Rows:
    return result.fetchall() if result.returns_rows else []


def fetch(conn: Connection, statement: Statement[Any]) -> Rows:
    """The statement's rows, on a SQLAlchemy Connection."""
    return _rows(conn.exec_driver_sql(*_spelled(conn, statement), execution_options=_OPTIONS))


def fetch_by_session(session: Session, statement: Statement[Any]) -> Rows:
    """The same in the transaction of a Session or scoped_session."""
    return fetch(session.connection(), statement)


async def afetch(conn: AsyncConnection, statement: Statement[Any]) -> Rows:
    """The statement's rows, on a SQLAlchemy AsyncConnection."""
    return _rows(await conn.exec_driver_sql(*_spelled(conn, statement), execution_options=_OPTIONS))


async def afetch_by_session(session: AsyncSession, statement: Statement[Any]) -> Rows:
    """The same in the transaction of an AsyncSession or async_scoped_session."""
    return await afetch(await session.connection(), statement)
