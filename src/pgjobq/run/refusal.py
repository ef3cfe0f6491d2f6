"""The sentences for objects that are not taken as `conn=`: what it is, what to do, what is taken."""

from __future__ import annotations

from pgjobq.errors import UnsupportedConnection
from pgjobq.run.kinds import TAKEN, Kind, names_of

__all__ = ["refusal", "unsupported"]

_POOL = "a pool is not a transaction: take one connection from it"
_ENGINE = "open a connection or a session first"
_TRANSACTION = "give the connection or session that this transaction belongs to"
# Near misses: what people hold when they mean the connection next to it.
_CURES = {
    "builtins.NoneType": "leave conn= out to use the queue's own connection",
    "builtins.str": "a connection string belongs in Queue(dsn); conn= takes an open connection",
    "builtins.coroutine": "it is not awaited yet: write `await` before it",
    "builtins.type": "it is the class; give an open connection",
    "builtins.generator": "it is a generator; give the connection that it yields",
    "builtins.async_generator": "it is a generator; give the connection that it yields",
    "contextlib._GeneratorContextManager": "enter it first: `with … as conn:`",
    "contextlib._AsyncGeneratorContextManager": "enter it first: `async with … as conn:`",
    "psycopg_pool.ConnectionPool": f"{_POOL} (`with pool.connection() as conn:`), or give Queue(pool=…)",
    "psycopg_pool.AsyncConnectionPool": (f"{_POOL} (`async with pool.connection() as conn:`), or give Queue(apool=…)"),
    "psycopg.Transaction": f"{_TRANSACTION} (its .connection)",
    "psycopg.AsyncTransaction": f"{_TRANSACTION} (its .connection)",
    "psycopg.BasePipeline": "give the connection that the pipeline belongs to",
    "psycopg2.AbstractConnectionPool": f"{_POOL} (`pool.getconn()`)",
    "asyncpg.Pool": f"{_POOL} (`async with pool.acquire() as conn:`)",
    "asyncpg.PoolAcquireContext": "enter it first: `async with pool.acquire() as conn:`",
    "asyncpg.Transaction": _TRANSACTION,
    "sqlalchemy.Engine": f"{_ENGINE} (`with engine.begin() as conn:`)",
    "sqlalchemy.AsyncEngine": f"{_ENGINE} (`async with engine.begin() as conn:`)",
    "sqlalchemy.sessionmaker": f"{_ENGINE} (`with Session() as session:`)",
    "sqlalchemy.async_sessionmaker": f"{_ENGINE} (`async with Session() as session:`)",
    "sqlalchemy.Transaction": _TRANSACTION,
    "sqlalchemy.AsyncTransaction": _TRANSACTION,
    "sqlalchemy.SessionTransaction": _TRANSACTION,
    "sqlalchemy.AsyncSessionTransaction": _TRANSACTION,
    "django.Atomic": "give django.db.connection, inside `with transaction.atomic():`",
    "django.ConnectionHandler": "give one of them: django.db.connections['default']",
}


def refusal(conn: object, kind: Kind | None, operation: str, *, awaited: bool) -> UnsupportedConnection:
    """Why `conn` cannot carry `operation`: an unknown kind, or a kind of the other twin."""
    called, twin = (f"a{operation}()", f"{operation}()") if awaited else (f"{operation}()", f"a{operation}()")
    if kind is None:
        reason = next((_CURES[name] for name in names_of(type(conn)) if name in _CURES), None)
    elif awaited:
        reason = f"it is not awaited: use {twin} for it (in async code, through asyncio.to_thread)"
    else:
        reason = f"it is awaited: use `await {twin}` for it"
    return _error(conn, reason, f"{called} takes: {_titles(awaited)}")


def unsupported(conn: object, reason: str) -> UnsupportedConnection:
    """The error for a connection of a known kind that is of no use for the `reason` given."""
    return _error(conn, reason, f"taken are: {_titles(True)}, {_titles(False)}")


def _error(conn: object, reason: str | None, taken: str) -> UnsupportedConnection:
    """Only the type is shown, never the value: a connection string may hold a password."""
    cls = type(conn)
    given = cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    article = "an" if given[0] in "aeiouAEIOU" else "a"
    return UnsupportedConnection("; ".join(filter(None, (f"conn= got {article} {given}", reason, taken))))


def _titles(awaited: bool) -> str:
    return ", ".join(kind.title for kind in TAKEN.values() if kind.awaited is awaited)
