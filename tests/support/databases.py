"""Databases of their own for tests: made from a template, dropped whatever still hangs on them."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from support.dsn import as_url

# Only databases of this name are ever made or dropped on a server that is not our own.
PREFIX = os.environ.get("PGJOBQ_TEST_PREFIX") or "pgjobq_test_"


@contextlib.contextmanager
def open_database(server: str, template: str | None = None) -> Iterator[str]:
    """A fresh database, as a DSN; dropped at the end together with its connections."""
    name = PREFIX + secrets.token_hex(6)
    fresh = sql.Identifier(name)
    with psycopg.connect(server, autocommit=True) as admin:
        if template is None:
            admin.execute(sql.SQL("CREATE DATABASE {}").format(fresh))
        else:
            admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(fresh, sql.Identifier(template)))
    try:
        yield as_url(server, dbname=name)
    finally:
        with psycopg.connect(server, autocommit=True) as admin:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(fresh))


def name_of(dsn: str) -> str:
    """The database's name."""
    return str(conninfo_to_dict(dsn)["dbname"])
