"""Who executes a Statement: `execute` on whatever sync connection the caller has, `aexecute` on the async
kinds.

The promise of this layer: the statement joins the transaction as it stands, through the library that owns the
connection (so SQLAlchemy and Django know that a transaction began). Nothing is begun, committed, rolled back,
set a savepoint for, tried again or changed, and what the caller has set up (row factories, cursor classes,
adapters, binary cursors, prepared statements, autocommit, pipeline mode) neither matters nor is touched.

An object that is no connection is refused before anything is sent. A closed connection, a lost one and a
transaction that has failed are answered by the driver's own error, which the caller's code already knows how
to treat.

    kinds         what is this object, and which room runs it
    psycopg, psycopg2, asyncpg, sqlalchemy, django     one room per library
    placeholders  $1 in each driver's own spelling; text in, text out
    refusal       the sentences for objects that are not taken
    missing       an undefined table or function of ours: SchemaMissing
    dsn, pools, loop_pool, health    the library's own connections, for calls without `conn=`
"""

from __future__ import annotations

from typing import TypeVar

from pgjobq.run.kinds import door
from pgjobq.run.missing import as_missing
from pgjobq.run.placeholders import as_text
from pgjobq.statements import Statement

__all__ = ["aexecute", "execute"]

T = TypeVar("T")


def execute(conn: object, statement: Statement[T]) -> T:
    """Run `statement` on a sync connection, in whatever transaction it is in; returns what the statement
    decodes.

    Raises UnsupportedConnection for anything that is not taken, SchemaMissing when the schema was never
    migrated, else the driver's (SQLAlchemy's, Django's) own error.
    """
    fetch = door(conn, statement, awaited=False)
    try:  # written out in both twins: a context manager is 2 µs of each enqueue
        rows = fetch(conn, statement)
    except Exception as error:
        if missing := as_missing(error, statement):
            raise missing from error
        raise
    return statement.decode(as_text(rows))


async def aexecute(conn: object, statement: Statement[T]) -> T:
    """The same on an async connection."""
    fetch = door(conn, statement, awaited=True)
    try:
        rows = await fetch(conn, statement)
    except Exception as error:
        if missing := as_missing(error, statement):
            raise missing from error
        raise
    return statement.decode(as_text(rows))
