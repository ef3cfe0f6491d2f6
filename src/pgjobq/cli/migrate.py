"""`pgjobq migrate`: create pgjobq's tables, bring them up to date, or tell whether they are."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import psycopg

from pgjobq import migrate as migrations
from pgjobq.cli.progress import Progress
from pgjobq.errors import MissingDsn
from pgjobq.run.dsn import completed, find_dsn
from pgjobq.settings import check_schema_name
from pgjobq.settings.arguments import CommandLine

__all__ = ["migrate"]

_DESCRIPTION = """\
Create pgjobq's tables in a database, or bring them up to date. Doing it again
does nothing; several at once take turns. All happens in one transaction: after
an error nothing has changed. Workers of the version before may keep running."""

_EPILOG = """\
exit codes:
  0  done; with --check: the schema is current
  1  with --check: it is not
  2  refused (the sentence says why), or with --check: cannot tell

examples:
  pgjobq migrate --dsn postgresql://localhost/shop
  pgjobq migrate --check || echo "deploy the migration first"
  pgjobq migrate --sql > review.sql       what would run, to be run with psql
  pgjobq migrate --schema shop_jobs       a second queue in the same database
"""


def migrate(argv: Sequence[str]) -> int:
    """Run the subcommand; returns the exit code. Raises ConfigError, SchemaError, psycopg.Error."""
    options = _parser().read(argv)
    schema = check_schema_name(options.schema or os.environ.get("PGJOBQ_SCHEMA", "").strip() or "pgjobq")
    if options.sql:
        return _print_sql(options.dsn, schema)
    with _connect(options.dsn) as conn:
        return _check(conn, schema) if options.check else _install(conn, schema)


def _parser() -> CommandLine:
    parser = CommandLine("pgjobq migrate", _DESCRIPTION, _EPILOG)
    parser.usage = "pgjobq migrate [--dsn DSN] [--schema NAME] [--check | --sql]"
    parser.add_argument(
        "--dsn",
        metavar="DSN",
        help="postgresql://user@host/name or libpq's key=value [PGJOBQ_DSN, then DATABASE_URL, then PG*]",
    )
    parser.add_argument("--schema", metavar="NAME", help="schema of pgjobq's tables (default: pgjobq) [PGJOBQ_SCHEMA]")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--check", action="store_true", help="change nothing, tell by the exit code whether it is current"
    )
    instead.add_argument(
        "--sql",
        action="store_true",
        help="change nothing, print the SQL that would run; all of it when no database is named",
    )
    return parser


def _connect(dsn: str | None) -> psycopg.Connection[tuple[object, ...]]:
    try:
        found = find_dsn(dsn, os.environ)
    except MissingDsn as error:
        raise MissingDsn(
            "no database is named: give --dsn postgresql://user@host/name, or set PGJOBQ_DSN, DATABASE_URL "
            "or libpq's PGHOST, PGSERVICE or PGDATABASE"
        ) from error
    settings = completed(found, os.environ, fallback_application_name="pgjobq migrate")
    return psycopg.connect(settings, autocommit=True)


def _install(conn: psycopg.Connection[tuple[object, ...]], schema: str) -> int:
    with Progress("migrate"):
        applied = migrations.install(conn, schema)
    where = _where(conn, schema)
    if not applied:
        print(f"{where} is current already, at version {migrations.status(conn, schema).current}")
    elif applied[0] == 1:
        print(f"{where} is installed, at version {applied[-1]}")
    else:
        print(f"{where} went from version {applied[0] - 1} to {applied[-1]}")
    return 0


def _check(conn: psycopg.Connection[tuple[object, ...]], schema: str) -> int:
    found = migrations.status(conn, schema)
    where = _where(conn, schema)
    if found.is_current:
        print(f"{where} is current, at version {found.current}")
    elif found.current == 0:
        print(f"{where} is not installed; run pgjobq migrate")
    elif found.current < found.wanted:
        print(f"{where} is at version {found.current} of {found.wanted}; run pgjobq migrate")
    else:
        print(
            f"{where} is at version {found.current}, newer than the {found.wanted} that this pgjobq knows; "
            "upgrade this installation"
        )
    return 0 if found.is_current else 1


def _print_sql(dsn: str | None, schema: str) -> int:
    try:
        with _connect(dsn) as conn:
            sql = migrations.script(conn, schema)
            head = f"-- {_where(conn, schema)}: " + ("what migrate would run" if sql else "current, nothing to run")
    except MissingDsn:
        sql = migrations.script(None, schema)
        head = "-- For a new database: none is named by --dsn, PGJOBQ_DSN, DATABASE_URL or PG*."
    sys.stdout.write(f"{head}\n{sql}")
    return 0


def _where(conn: psycopg.Connection[tuple[object, ...]], schema: str) -> str:
    """The schema and the database, never the password."""
    info = conn.info
    return f"schema {schema} in database {info.dbname} on {info.host}:{info.port}"
