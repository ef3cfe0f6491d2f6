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
    "psycopg_pool.AsyncConnectionPool": (
        f"{_POOL} (`async with pool.connection() as conn:`), or give Queue(apool=…)"
    ),
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
    if kind is not None:
        return unsupported(conn, _twin(operation, awaited=awaited), awaited=not awaited)
    cure = next((_CURES[name] for name in names_of(type(conn)) if name in _CURES), None)
    return unsupported(conn, cure, awaited=awaited)


def unsupported(conn: object, reason: str | None, *, awaited: bool | None = None) -> UnsupportedConnection:
    """The error for `conn`; `awaited` limits the list of what is taken to the async (True) or sync (False)
    kinds.

    Only the type is shown, never the value: a connection string may hold a password.
    """
    cls = type(conn)
    given = cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    sentence = f"conn= got {_article(given)} {given}"
    if reason:
        sentence += f": {reason}"
    return UnsupportedConnection(f"{sentence}. Taken are: {', '.join(_titles(awaited))}")


def _twin(operation: str, *, awaited: bool) -> str:
    if awaited:
        return (
            f"it is not awaited: use {operation}() for it (in async code, through asyncio.to_thread), "
            f"not a{operation}()"
        )
    return f"it is awaited: use `await a{operation}()` for it, not {operation}()"


def _titles(awaited: bool | None) -> list[str]:
    return [kind.title for kind in TAKEN.values() if awaited is None or kind.awaited is awaited]


def _article(noun: str) -> str:
    return "an" if noun[0] in "aeiouAEIOU" else "a"
