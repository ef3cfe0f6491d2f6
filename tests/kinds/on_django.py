"""Django's connection: inside atomic(), and with autocommit switched off."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import django
from django.conf import settings
from psycopg.conninfo import conninfo_to_dict

from kinds.caller import Caller, Kind, Opener

if not settings.configured:  # once a process; each test registers a connection of its own
    settings.configure(DATABASES={"default": {}}, USE_TZ=True)
    django.setup()

from django.db import connection, connections, transaction
from django.db.backends.postgresql.base import DatabaseWrapper
from django.db.backends.postgresql.psycopg_any import is_psycopg3

DRIVER = "psycopg" if is_psycopg3 else "psycopg2"


class InAtomic(Caller):
    """`with transaction.atomic():`, entered again after each end."""

    def __init__(self, conn: Any) -> None:
        self.conn = conn
        self.block: Any = None

    def begin(self) -> None:
        self.block = transaction.atomic()
        self.block.__enter__()

    def end(self) -> None:
        block, self.block = self.block, None
        if block is not None:
            block.__exit__(None, None, None)

    async def sql(self, text: str) -> list[Any]:
        with connection.cursor() as cursor:
            cursor.execute(text)
            return cursor.fetchall() if cursor.description else []

    async def commit(self) -> None:
        self.end()
        self.begin()

    async def rollback(self) -> None:
        transaction.set_rollback(True)
        await self.commit()

    @asynccontextmanager
    async def undone(self) -> AsyncIterator[None]:
        with transaction.atomic():
            yield
            transaction.set_rollback(True)


class WithoutAutocommit(InAtomic):
    """`set_autocommit(False)`, `commit()`, `rollback()`."""

    def begin(self) -> None:
        connection.set_autocommit(False)

    async def commit(self) -> None:
        connection.commit()

    async def rollback(self) -> None:
        connection.rollback()


class Debugged(InAtomic):
    """With the query log of DEBUG and a wrapper around every execution, such as tracers install."""

    def begin(self) -> None:
        self.conn.force_debug_cursor = True
        self.conn.execute_wrappers.append(_pass)
        super().begin()


class WithCursor(InAtomic):
    """Gives a Django cursor as conn=."""

    def begin(self) -> None:
        super().begin()
        self.conn = connection.cursor()


def _pass(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
    return execute(sql, params, many, context)


def opener(caller: type[InAtomic], *, wrapper: bool = False, **options: Any) -> Opener:
    """Gives `django.db.connection`, which is a proxy, or the DatabaseWrapper behind it."""

    @asynccontextmanager
    async def opened(dsn: str, autocommit: bool) -> AsyncIterator[Caller]:
        with registered(dsn, options) as real:
            made = caller(real if wrapper else connection)
            if not autocommit:
                made.begin()
            try:
                yield made
            finally:
                if made.block is not None:
                    transaction.set_rollback(True)
                    made.end()

    return opened


@contextmanager
def registered(dsn: str, options: dict[str, Any]) -> Iterator[DatabaseWrapper]:
    """The test's database as Django's default, for this thread."""
    parts = conninfo_to_dict(dsn)
    wanted: dict[str, Any] = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.get("dbname", ""),
        "USER": parts.get("user", ""),
        "PASSWORD": parts.get("password", ""),
        "HOST": parts.get("host", ""),
        "PORT": parts.get("port", ""),
        "OPTIONS": options,
    }
    real = DatabaseWrapper(connections.configure_settings({"default": wanted})["default"], "default")
    connections["default"] = real
    try:
        yield real
    finally:
        real.close()
        del connections["default"]


KINDS = [
    Kind(f"django-atomic-{DRIVER}", opener(InAtomic)),
    Kind(f"django-wrapper-{DRIVER}", opener(InAtomic, wrapper=True)),
    Kind(f"django-without-autocommit-{DRIVER}", opener(WithoutAutocommit), autocommit=False),
]
