"""What is this object? The table of connections that are taken, found without importing what is not
installed.

A type is known by the names in its MRO: the top-level package and the class, such as `sqlalchemy.Session`. So
a subclass of the caller's own (SQLModel's Session, PostGIS's DatabaseWrapper) is taken like its base, and a
library that is not installed costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from pgjobq.statements import Statement

__all__ = ["TAKEN", "Kind", "door", "kind_of", "names_of"]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of connection: how people call it, whether it is awaited, and the function that runs it."""

    title: str
    awaited: bool
    room: str
    function: str

    def load(self) -> Callable[..., Any]:
        """The function itself; its room is imported here, when its library is certainly there."""
        found: Callable[..., Any] = getattr(import_module(f"{__package__}.{self.room}"), self.function)
        return found


TAKEN = {
    "psycopg.Connection": Kind("psycopg Connection", False, "psycopg", "fetch"),
    "psycopg.Cursor": Kind("psycopg Cursor", False, "psycopg", "fetch_by_cursor"),
    "psycopg.AsyncConnection": Kind("psycopg AsyncConnection", True, "psycopg", "afetch"),
    "psycopg.AsyncCursor": Kind("psycopg AsyncCursor", True, "psycopg", "afetch_by_cursor"),
    "sqlalchemy.Connection": Kind("SQLAlchemy Connection", False, "sqlalchemy", "fetch"),
    "sqlalchemy.Session": Kind("SQLAlchemy Session", False, "sqlalchemy", "fetch_by_session"),
    "sqlalchemy.scoped_session": Kind("SQLAlchemy scoped_session", False, "sqlalchemy", "fetch_by_session"),
    "sqlalchemy.AsyncConnection": Kind("SQLAlchemy AsyncConnection", True, "sqlalchemy", "afetch"),
    "sqlalchemy.AsyncSession": Kind("SQLAlchemy AsyncSession", True, "sqlalchemy", "afetch_by_session"),
    "sqlalchemy.async_scoped_session": Kind("SQLAlchemy async_scoped_session", True, "sqlalchemy", "afetch_by_session"),
    "django.BaseDatabaseWrapper": Kind("django.db.connections[alias]", False, "django", "fetch"),
    "django.ConnectionProxy": Kind("django.db.connection", False, "django", "fetch"),
    "django.CursorWrapper": Kind("Django cursor", False, "django", "fetch_by_cursor"),
    "asyncpg.Connection": Kind("asyncpg Connection", True, "asyncpg", "afetch"),
    "asyncpg.PoolConnectionProxy": Kind("asyncpg connection of a pool", True, "asyncpg", "afetch"),
    "psycopg2.connection": Kind("psycopg2 connection", False, "psycopg2", "fetch"),
    "psycopg2.cursor": Kind("psycopg2 cursor", False, "psycopg2", "fetch_by_cursor"),
}


def door(conn: Any, statement: Statement[Any], *, awaited: bool) -> Callable[..., Any]:
    """The function that runs a statement on `conn`; UnsupportedConnection when there is none in this twin."""
    kind, function = _recognized(type(conn))
    if kind is None or function is None or kind.awaited is not awaited:
        from pgjobq.run.refusal import refusal

        raise refusal(conn, kind, statement.name, awaited=awaited)
    return function


def kind_of(conn: Any) -> Kind | None:
    """Which kind of connection `conn` is; None when it is none that is taken."""
    return _recognized(type(conn))[0]


def names_of(cls: type) -> list[str]:
    """`package.Class` for the class and its bases, nearest first."""
    return [f"{base.__module__.partition('.')[0]}.{base.__name__}" for base in cls.__mro__]


# Types that were met: a program has a handful, and the look-up is on the way of every enqueue.
_met: WeakKeyDictionary[type, tuple[Kind, Callable[..., Any]]] = WeakKeyDictionary()


def _recognized(cls: type) -> tuple[Kind, Callable[..., Any]] | tuple[None, None]:
    if known := _met.get(cls):
        return known
    for name in names_of(cls):
        if kind := TAKEN.get(name):
            _met[cls] = kind, kind.load()
            return _met[cls]
    return None, None
