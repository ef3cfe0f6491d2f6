"""A database for one run: empty at the start, gone at the end."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from pgjobq.devdb import Postgres

from ..shop.catalog import stock_shelves
from ..shop.db import install
from ..shop.jobs import queue


class NoDatabase(Exception):
    """The server that the environment names cannot be used for this; the text says why."""


@contextlib.contextmanager
def open_database() -> Iterator[str]:
    """The DSN of a fresh database, on the server of PGJOBQ_DSN or DATABASE_URL, else on one of our own.

    Nothing that is already on a named server is touched. Raises NoDatabase, or pgjobq.devdb.NoPostgres.
    """
    named = os.environ.get("PGJOBQ_DSN") or os.environ.get("DATABASE_URL")
    with contextlib.ExitStack() as stack:
        server = named or stack.enter_context(Postgres()).dsn()
        name = f"corner_shop_{secrets.token_hex(4)}"
        try:
            _execute(server, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        except psycopg.errors.InsufficientPrivilege as error:
            raise NoDatabase(
                "PGJOBQ_DSN names a role that may not create databases, and this shop wants one of its own: "
                "ALTER ROLE … CREATEDB, or unset PGJOBQ_DSN to use a private server"
            ) from error
        except psycopg.OperationalError as error:
            raise NoDatabase(f"the server that PGJOBQ_DSN names cannot be reached: {error}") from error
        try:
            yield make_conninfo(server, dbname=name)
        finally:
            _drop(server, name)


def _drop(server: str, name: str) -> None:
    """Gone, with whoever is connected. A role that is no superuser may not end an autovacuum at work there; that
    is over in a moment."""
    for patience in range(50, -1, -1):
        try:
            _execute(server, sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
            return
        except psycopg.errors.InsufficientPrivilege:
            if not patience:
                raise
            time.sleep(0.1)


def _execute(server: str, statement: sql.Composed) -> None:
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(statement)


def furnish(dsn: str, *, stock_each: int | None = None) -> None:
    """Install pgjobq's tables and the shop's, and fill the shelves."""
    from pgjobq.migrate import install as install_pgjobq

    with psycopg.connect(dsn) as conn:
        install_pgjobq(conn, queue.schema)
        install(conn)
        stock_shelves(conn, each=stock_each)
