"""psycopg2: a plain cursor of our own on the caller's connection.

psycopg2 writes the values into the SQL text. Each one goes as a `QuotedString`, which needs no adapter, and
the cursor reads text with psycopg2's own reader, whatever is registered for the process or the connection.
"""

from __future__ import annotations

from typing import Any

from psycopg2.extensions import UNICODE, QuotedString, cursor, register_type

from pgjobq.run.placeholders import arranged, as_format
from pgjobq.run.refusal import unsupported
from pgjobq.statements import Rows, Statement

__all__ = ["fetch", "fetch_by_cursor"]


def fetch(conn: Any, statement: Statement[Any]) -> Rows:
    """The statement's rows, on a psycopg2 connection."""
    if conn.async_:
        raise unsupported(conn, "psycopg2's asynchronous mode is not taken: connect without async_=1")
    sql, order = as_format(statement.sql)
    values = [None if value is None else QuotedString(value) for value in arranged(statement.params, order)]
    with cursor(conn) as own:
        register_type(UNICODE, own)
        own.execute(sql, values)
        rows: Rows = own.fetchall() if own.description else []
        return rows


def fetch_by_cursor(given: Any, statement: Statement[Any]) -> Rows:
    """The same on the connection of the caller's cursor; the cursor itself stays as it is."""
    return fetch(given.connection, statement)
