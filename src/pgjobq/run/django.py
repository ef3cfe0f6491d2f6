"""Django: a cursor from the DatabaseWrapper, so that `atomic`, autocommit, query logging and wrappers work as
always.
"""

from __future__ import annotations

from typing import Any

from pgjobq.run.placeholders import arranged, as_format
from pgjobq.run.refusal import unsupported
from pgjobq.statements import Rows, Statement

__all__ = ["fetch", "fetch_by_cursor"]


def fetch(conn: Any, statement: Statement[Any]) -> Rows:
    """The statement's rows, on `django.db.connection` or `connections[alias]`, with psycopg 3 or psycopg2
    below.
    """
    vendor = getattr(conn, "vendor", None)
    if vendor != "postgresql":
        raise unsupported(conn, f"it leads to {vendor or 'no database'}, and pgjobq's tables are in PostgreSQL")
    sql, order = as_format(statement.sql)
    with conn.cursor() as cursor:
        cursor.execute(sql, arranged(statement.params, order))
        rows: Rows = cursor.fetchall() if cursor.description else []
        return rows


def fetch_by_cursor(cursor: Any, statement: Statement[Any]) -> Rows:
    """The same on the connection of a Django cursor."""
    return fetch(cursor.db, statement)
