"""An undefined schema, table or function of ours means one thing: the database was never migrated."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pgjobq.errors import SchemaMissing
from pgjobq.statements import Statement

__all__ = ["as_missing", "naming_missing_schema", "sqlstate_of"]

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_UNDEFINED = {"3F000", "42883", "42P01"}  # schema, function, table


@contextmanager
def naming_missing_schema(statement: Statement[Any]) -> Iterator[None]:
    """Turns a driver's "undefined schema, table or function" about one of ours into SchemaMissing."""
    try:
        yield
    except Exception as error:
        if missing := as_missing(error, statement):
            raise missing from error
        raise


def as_missing(error: Exception, statement: Statement[Any]) -> SchemaMissing | None:
    """SchemaMissing when that is what a driver's error means."""
    if not _is_ours_missing(error, statement.sql):
        return None
    return SchemaMissing(
        f"pgjobq's tables and functions are not all there in this database ({_first_line(error)}): "
        "run `pgjobq migrate` on it"
    )


def sqlstate_of(error: BaseException) -> str | None:
    """The SQLSTATE a server's error carries, found through SQLAlchemy's and Django's wrappers too."""
    below = (error, getattr(error, "orig", None), error.__cause__)
    for one in below:
        state = getattr(one, "sqlstate", None) or getattr(one, "pgcode", None)
        if isinstance(state, str):
            return state
    return None


def _is_ours_missing(error: Exception, sql: str) -> bool:
    """In a psycopg pipeline the error of an earlier statement of the caller's comes up here: that one is not
    ours.

    The server's message is in the server's language, but it names what is missing.
    """
    if sqlstate_of(error) not in _UNDEFINED:
        return False
    words = re.findall(r"\w+", _first_line(error))
    return any(f"{word}." in sql or f'"{word}".' in sql for word in words)


def _first_line(error: BaseException) -> str:
    below = getattr(error, "orig", None) or error
    return (str(below).splitlines() or [type(below).__name__])[0]
