"""Bring a database's schema up to date: `install`, `status`, `check`, `render`.

`schema.sql` is the complete present schema. A new database gets that one file and is recorded as having every
version up to the present one; an older database gets the numbered steps in `migrations/` that it lacks. Both
roads end in the same catalog, which a test compares. Version 1 is the first schema and has no step.

The schema's name is a parameter; how it is put into the .sql files: `pgjobq.settings.schema_name`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import psycopg
from psycopg import errors as pg
from psycopg.rows import TupleRow, tuple_row

from pgjobq.errors import SchemaError, SchemaMissing, SchemaOutdated
from pgjobq.settings import check_schema_name, put_schema_name

__all__ = ["Status", "check", "install", "library_version", "render", "script", "status"]

OLDEST_SERVER = 14
LOCK_SECONDS = 5.0
# Waiting for another migration to end is normal when several deployments start at once.
TURN_SECONDS = 120.0
_HERE = Path(__file__).parent
_STEP = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")


@dataclass(frozen=True, slots=True)
class Status:
    """Which version a schema is at (0: not installed) and which one this library wants."""

    current: int
    wanted: int

    @property
    def is_current(self) -> bool:
        """True when nothing is to be done."""
        return self.current == self.wanted


@dataclass(frozen=True, slots=True)
class Step:
    """One version: its number, its name, and the SQL that leads there from the version before."""

    version: int
    name: str
    sql: str


def render(schema: str = "pgjobq", sql: str | None = None) -> str:
    """The complete schema (or `sql`) with the schema's name put in; ConfigError when it cannot be used."""
    return put_schema_name(_read(_HERE / "schema.sql") if sql is None else sql, schema)


def install(
    conn: psycopg.Connection[Any],
    schema: str = "pgjobq",
    *,
    directory: Path | None = None,
    lock_seconds: float = LOCK_SECONDS,
) -> list[int]:
    """Bring the schema up to date in one transaction; several at once take turns, and each succeeds.

    Args:
        conn: autocommit or not. Outside a transaction, one is begun and committed; inside the caller's, all
            happens in a savepoint of it and the caller commits.
        schema: its name.
        directory: where schema.sql and migrations/ are; the package's own unless a test says otherwise.
        lock_seconds: how long a statement may wait for a table's lock.

    Returns:
        The versions applied now, in order; empty when there was nothing to do.

    Raises:
        ConfigError: the name cannot be used.
        SchemaOutdated: a newer library migrated this database.
        SchemaError: the server is too old or read-only, the schema holds somebody else's tables, a lock or
            a privilege is missing. Nothing was changed.
    """
    check_schema_name(schema)
    directory = directory or _HERE
    _refuse_old_server(conn.info.server_version)
    with _transaction(conn, schema, lock_seconds) as cursor:
        present = _present(cursor, schema)
        wanted = _steps(directory)[-1].version
        if present.version > wanted:
            raise SchemaOutdated(_newer(schema, present, wanted))
        if present.version == wanted:
            return []
        cursor.execute(_ddl(schema, present, directory).encode(), prepare=False)
        return list(range(present.version + 1, wanted + 1))


def status(conn: psycopg.Connection[Any], schema: str = "pgjobq", *, directory: Path | None = None) -> Status:
    """Which version the schema is at and which is wanted; raises SchemaError when it is somebody else's."""
    check_schema_name(schema)
    with conn.transaction():
        present = _present(psycopg.Cursor(conn, row_factory=tuple_row), schema)
    return Status(present.version, _steps(directory or _HERE)[-1].version)


def check(conn: psycopg.Connection[Any], schema: str = "pgjobq", *, directory: Path | None = None) -> Status:
    """Raise SchemaMissing or SchemaOutdated unless this library can work with the schema.

    A newer schema is accepted: migrations are written to be safe while the previous version's workers run,
    and one of those must be able to restart half-way through a deployment. The Status returned tells.
    """
    found = status(conn, schema, directory=directory)
    if found.current == 0:
        raise SchemaMissing(
            f"schema {schema} is not installed in database {conn.info.dbname}: run `{_command(schema)}`"
        )
    if found.current < found.wanted:
        raise SchemaOutdated(
            f"schema {schema} in database {conn.info.dbname} is at version {found.current}, this pgjobq "
            f"({library_version()}) needs version {found.wanted}: run `{_command(schema)}`"
        )
    return found


def script(conn: psycopg.Connection[Any] | None, schema: str = "pgjobq", *, directory: Path | None = None) -> str:
    """What `install` would run, as a script for psql: for `conn`'s database, or a new one when it is None.

    Empty when there is nothing to do.
    """
    check_schema_name(schema)
    present = _NOTHING
    directory = directory or _HERE
    if conn is not None:
        with conn.transaction():
            present = _present(psycopg.Cursor(conn, row_factory=tuple_row), schema)
    if present.version >= _steps(directory)[-1].version:
        return ""
    preamble = f"SET LOCAL lock_timeout = '{LOCK_SECONDS:g}s';\nSELECT {_turn(schema)};\n"
    return f"BEGIN;\n{preamble}\n{_ddl(schema, present, directory)}\nCOMMIT;\n"


def library_version() -> str:
    """The installed pgjobq's version, or `unknown` when it runs from a bare source tree."""
    try:
        return metadata.version("pgjobq")
    except metadata.PackageNotFoundError:
        return "unknown"


# --- what is there -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Present:
    """What a database holds under the schema's name."""

    version: int = 0
    library: str | None = None
    has_schema: bool = False


_NOTHING = _Present()


def _present(cursor: psycopg.Cursor[TupleRow], schema: str) -> _Present:
    cursor.execute(
        """SELECT n.oid IS NOT NULL,
                  (SELECT array_agg(a.attname::text) FROM pg_catalog.pg_attribute a
                   JOIN pg_catalog.pg_class c ON c.oid = a.attrelid AND c.relkind = 'r'
                   WHERE c.relnamespace = n.oid AND c.relname = 'migration' AND a.attnum > 0
                     AND NOT a.attisdropped),
                  (SELECT array_agg(c.relname::text ORDER BY c.relname) FROM pg_catalog.pg_class c
                   WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f'))
           FROM (VALUES (%s::text)) AS wanted (name)
           LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = wanted.name""",
        [schema],
    )
    row = cursor.fetchone()
    assert row is not None
    has_schema, columns, relations = row
    ours = isinstance(columns, list) and {"version", "name", "applied_at", "library"} <= set(columns)
    if not ours:
        if isinstance(relations, list) and relations:
            raise SchemaError(_foreign(schema, relations))
        return _Present(has_schema=bool(has_schema))
    cursor.execute(
        put_schema_name("SELECT version, library FROM pgjobq.migration ORDER BY version DESC LIMIT 1", schema).encode()
    )
    latest = cursor.fetchone()
    if latest is None:
        raise SchemaError(
            f"schema {schema} has a table migration without a row, so its version cannot be told. If "
            f"somebody ran schema.sql, add the row: version {_steps(_HERE)[-1].version} (or what the file was), "
            "name 'by hand'"
        )
    return _Present(int(str(latest[0])), None if latest[1] is None else str(latest[1]), True)


def _steps(directory: Path) -> list[Step]:
    """Version 1, then the numbered files; raises SchemaError when a number is missing or double."""
    steps = [Step(1, "first_schema", "")]
    for path in sorted((directory / "migrations").glob("*.sql")):
        found = _STEP.fullmatch(path.name)
        if found is None or int(found[1]) != steps[-1].version + 1:
            raise SchemaError(
                f"migration {path.name} does not fit: the file after version {steps[-1].version} is called "
                f"{steps[-1].version + 1:04d}_name.sql"
            )
        steps.append(Step(int(found[1]), found[2], _read(path)))
    return steps


# --- what is to be done --------------------------------------------------------------------------------


def _ddl(schema: str, present: _Present, directory: Path) -> str:
    """The statements that lead from what is present to the wanted version, and the rows that record it."""
    missing = [step for step in _steps(directory) if step.version > present.version]
    if present.version == 0:
        sql = _read(directory / "schema.sql")
        if present.has_schema:
            # Even with IF NOT EXISTS the statement wants CREATE on the database, which a role that was
            # given a ready-made schema does not have.
            sql = re.sub(r"^CREATE SCHEMA IF NOT EXISTS pgjobq;$", "", sql, count=1, flags=re.MULTILINE)
    else:
        sql = "\n".join(f"-- {step.version:04d} {step.name}\n{step.sql.rstrip()}\n" for step in missing)
    rows = ",\n".join(f"    ({step.version}, '{step.name}', '{library_version()}')" for step in missing)
    record = f"INSERT INTO pgjobq.migration (version, name, library) VALUES\n{rows};\n"
    return put_schema_name(f"{sql.rstrip()}\n\n{record}", schema)


@contextmanager
def _transaction(conn: psycopg.Connection[Any], schema: str, lock_seconds: float) -> Iterator[psycopg.Cursor[TupleRow]]:
    """A transaction that is alone in migrating this schema, with its own time-outs; errors made readable."""
    cursor = psycopg.Cursor(conn, row_factory=tuple_row)
    nested = conn.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
    waiting_for = "another migration of this schema"
    try:
        with conn.transaction():
            if not nested:
                # A snapshot older than the turn would not see what the one before us has committed.
                cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
            with _local_settings(cursor, TURN_SECONDS):
                cursor.execute(f"SELECT {_turn(schema)}".encode())
                waiting_for = "a lock that another transaction holds"
                cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{round(lock_seconds * 1000)}ms"])
                yield cursor
    except pg.LockNotAvailable as error:
        raise SchemaError(
            f"schema {schema} was not migrated, nothing was changed: waited too long for {waiting_for}; "
            "see pg_stat_activity for long transactions, then try again"
        ) from error
    except pg.ReadOnlySqlTransaction as error:
        raise SchemaError(
            f"schema {schema} was not migrated: {conn.info.host} is read-only (a standby, or "
            "default_transaction_read_only); migrate on the primary"
        ) from error
    except pg.InsufficientPrivilege as error:
        raise SchemaError(
            f"schema {schema} was not migrated, nothing was changed: role {conn.info.user} may not do it "
            f"({error.diag.message_primary}); run it as the owner of the schema, or GRANT CREATE ON DATABASE "
            f"{conn.info.dbname} TO {conn.info.user}"
        ) from error


@contextmanager
def _local_settings(cursor: psycopg.Cursor[TupleRow], lock_seconds: float) -> Iterator[None]:
    """Settings for the time of the migration only, also inside a transaction of the caller's.

    search_path: whatever is not qualified must fail here rather than land in somebody's schema.
    """
    wanted = {
        "lock_timeout": f"{round(lock_seconds * 1000)}ms",
        "statement_timeout": "0",
        "client_min_messages": "warning",
        "search_path": "pg_catalog, pg_temp",
    }
    cursor.execute("SELECT " + ", ".join(f"current_setting('{name}')" for name in wanted))
    before = cursor.fetchone() or ()
    setting = "SELECT " + ", ".join(f"set_config('{name}', %s, true)" for name in wanted)
    cursor.execute(setting.encode(), list(wanted.values()))
    yield
    # Not in a `finally`: after an error the rollback to the savepoint has put them back.
    cursor.execute(setting.encode(), list(before))


def _turn(schema: str) -> str:
    """The lock that makes migrations of one schema take turns; it ends with the transaction."""
    return f"pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('pgjobq migrate {schema}', 0))"


# --- sentences -----------------------------------------------------------------------------------------


def _refuse_old_server(version: int) -> None:
    if version < OLDEST_SERVER * 10_000:
        raise SchemaError(
            f"PostgreSQL {version // 10_000}.{version % 10_000} is too old: pgjobq needs PostgreSQL "
            f"{OLDEST_SERVER} or later"
        )


def _foreign(schema: str, relations: list[object]) -> str:
    some = ", ".join(str(name) for name in relations[:3]) + (", …" if len(relations) > 3 else "")
    return (
        f"schema {schema} holds tables that pgjobq did not make ({some}) and no table pgjobq could tell its "
        "version by: nothing was touched; use another schema name with --schema"
    )


def _newer(schema: str, present: _Present, wanted: int) -> str:
    return (
        f"schema {schema} is at version {present.version}, migrated by pgjobq {present.library or '?'}, "
        f"but this pgjobq ({library_version()}) knows only version {wanted}: upgrade this installation"
    )


def _command(schema: str) -> str:
    return "pgjobq migrate" + ("" if schema == "pgjobq" else f" --schema {schema}")


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
