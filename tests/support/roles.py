"""Roles of a test's own. They belong to the whole server: each has a name that nobody else takes, and is dropped."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator

import psycopg
from psycopg import sql

from support.databases import PREFIX
from support.dsn import as_url


@contextlib.contextmanager
def role_on(dsn: str, *allowed: str) -> Iterator[str]:
    """A role that may connect to the test's database and was allowed to be these; its DSN."""
    name, password = f"{PREFIX}role_{secrets.token_hex(6)}", secrets.token_hex(8)
    role = sql.Identifier(name)
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(password)))
        try:
            for what in allowed:
                owner.execute("SELECT pgjobq.allow(%s, %s)", [name, what])
            yield as_url(dsn, user=name, password=password)
        finally:
            owner.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s AND pid <> pg_backend_pid()",
                [name],
            )
            owner.execute(sql.SQL("DROP OWNED BY {}").format(role))
            owner.execute(sql.SQL("DROP ROLE {}").format(role))
