"""psycopg 3: a raw cursor of our own on the caller's connection, with adapters of our own.

`RawCursor` takes $1 as it is. Made directly, it passes by the connection's `cursor_factory` and
`row_factory`; its `adapters` are a small map of ours, so that whatever dumpers and loaders the caller has
registered take no part. `prepare=None` leaves preparing to the connection's own `prepare_threshold`.
"""

from __future__ import annotations

from typing import Any

from psycopg import AsyncConnection, AsyncCursor, AsyncRawCursor, Connection, Cursor, RawCursor
from psycopg.adapt import AdaptersMap
from psycopg.rows import TupleRow, tuple_row
from psycopg.types.none import NoneDumper
from psycopg.types.string import StrDumperUnknown, TextLoader

from pgjobq.run.placeholders import texts
from pgjobq.statements import Rows, Statement

__all__ = ["afetch", "afetch_by_cursor", "fetch", "fetch_by_cursor"]

_INVALID_OID = 0  # the loader of last resort: every column comes as text


def _text_only() -> AdaptersMap:
    adapters = AdaptersMap()
    adapters.register_dumper(str, StrDumperUnknown)
    adapters.register_dumper(type(None), NoneDumper)
    adapters.register_loader(_INVALID_OID, TextLoader)
    return adapters


_TEXT_ONLY = _text_only()


class _TextCursor(RawCursor[TupleRow]):
    @property
    def adapters(self) -> AdaptersMap:
        return _TEXT_ONLY


class _AsyncTextCursor(AsyncRawCursor[TupleRow]):
    @property
    def adapters(self) -> AdaptersMap:
        return _TEXT_ONLY


def _has_no_rows(cursor: _TextCursor | _AsyncTextCursor) -> bool:
    """True when the answer is there and has no columns. In pipeline mode it is not there yet: fetching waits for it.

    Not by `cursor.description`: that makes a list of Column objects, 8 µs each time.
    """
    return cursor.pgresult is not None and not cursor.pgresult.nfields


def fetch(conn: Connection[Any], statement: Statement[Any]) -> Rows:
    """The statement's rows, on a psycopg Connection."""
    cursor = _TextCursor(conn, row_factory=tuple_row)  # closing it would do nothing but be one call more
    cursor.execute(statement.sql, texts(statement.params))
    return [] if _has_no_rows(cursor) else cursor.fetchall()


def fetch_by_cursor(cursor: Cursor[Any], statement: Statement[Any]) -> Rows:
    """The same on the connection of the caller's cursor; the cursor itself, and any result it holds, stay as
    they are.
    """
    return fetch(cursor.connection, statement)


async def afetch(conn: AsyncConnection[Any], statement: Statement[Any]) -> Rows:
    """The statement's rows, on a psycopg AsyncConnection."""
    cursor = _AsyncTextCursor(conn, row_factory=tuple_row)
    await cursor.execute(statement.sql, texts(statement.params))
    return [] if _has_no_rows(cursor) else await cursor.fetchall()


async def afetch_by_cursor(cursor: AsyncCursor[Any], statement: Statement[Any]) -> Rows:
    """The same on the connection of the caller's cursor."""
    return await afetch(cursor.connection, statement)
