"""The PostgreSQL that all systems share, and what is read from it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from bench.machine import cpu_seconds, descendants
from pgjobq.devdb import Postgres
from pgjobq.devdb.address import Address

__all__ = ["SETTINGS", "Server", "open_server"]

SETTINGS: dict[str, object] = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "1GB",
    "max_wal_size": "4GB",
    "min_wal_size": "2GB",
    "max_connections": 300,
}
"""Durable as in production; enough memory and WAL that no checkpoint falls into one system's turn and not another's,
and files of WAL are kept for the next turn.
"""

PREFIX = "bench_"
_GATE_SECONDS = 10.0
_SETTLED = 0.3
"""Seconds without a change after which everybody who will stand at the gate stands there."""

_WARM_PAGES = 65_536

_SIZE = """
SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
"""


@contextlib.contextmanager
def open_server(dsn: str | None) -> Iterator[Server]:
    """The server behind `dsn`, or one of our own with SETTINGS. Databases named bench_* are made and dropped there."""
    if dsn is not None:
        with Server.connect(dsn) as server:
            yield server
        return
    with Postgres(settings=SETTINGS, tcp=True) as postgres, Server.connect(postgres.dsn()) as server:
        server.warm()
        yield server


@dataclass
class Server:
    """One PostgreSQL server; `pid` of its postmaster when it runs on this machine."""

    dsn: str
    admin: psycopg.Connection[Any]
    pid: int | None

    @classmethod
    @contextlib.contextmanager
    def connect(cls, dsn: str) -> Iterator[Server]:
        with psycopg.connect(dsn, autocommit=True) as admin:
            yield cls(dsn, admin, _postmaster(admin))

    def facts(self) -> dict[str, Any]:
        """Version and the settings that decide over the figures."""
        names = [*SETTINGS, "server_version", "wal_compression", "autovacuum_naptime"]
        return {name: self._value("SELECT current_setting(%s)", name) for name in names}

    def database(self, name: str) -> str:
        """The DSN of one of our databases, as a URL: every driver in every language reads that."""
        known = conninfo_to_dict(self.dsn)
        host, port = str(known.get("host") or "127.0.0.1"), int(known.get("port") or 5432)
        user, password = str(known.get("user") or "postgres"), str(known.get("password") or "")
        if user != "postgres":
            raise SystemExit("bench: --dsn wants the user postgres: it makes and drops databases")
        return Address(host, port, password, 0).dsn(PREFIX + name)

    def recreate(self, name: str, template: str | None = None) -> str:
        """A fresh database, empty or a copy of another one of ours; gives its DSN."""
        self.drop(name)
        source = sql.SQL(" TEMPLATE {}").format(sql.Identifier(PREFIX + template)) if template else sql.SQL("")
        self.admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(PREFIX + name)) + source)
        return self.database(name)

    def drop(self, name: str) -> None:
        """Drop one of our databases, whoever is still connected."""
        self.admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(PREFIX + name)))

    def warm(self) -> None:
        """Use memory and WAL once. A new server gets its memory from the kernel page by page, and makes a file of WAL
        anew for every 16 MB: whoever comes first would wait for that.
        """
        with psycopg.connect(self.recreate("warm"), autocommit=True) as connection:
            connection.execute("CREATE TABLE page (filler text)")
            connection.execute("ALTER TABLE page ALTER filler SET STORAGE PLAIN")
            connection.execute("INSERT INTO page SELECT repeat('x', 7500) FROM generate_series(1, %s)", [_WARM_PAGES])
        self.drop("warm")
        self.settle()

    def settle(self) -> None:
        """Write out what earlier systems left dirty, so that nobody pays for his predecessor."""
        self.admin.execute("CHECKPOINT")

    def wal_position(self) -> int:
        """Bytes of WAL written since the server was made."""
        return int(self._value("SELECT pg_current_wal_insert_lsn() - '0/0'"))

    def cpu(self) -> float | None:
        """Seconds of CPU that the server's processes have used; None when it runs elsewhere.

        Sessions that have ended count, too: the postmaster has waited for them.
        """
        return None if self.pid is None else cpu_seconds([self.pid, *descendants(self.pid)])

    def size(self, dsn: str) -> int:
        """Bytes of all tables with their indexes and TOAST."""
        with psycopg.connect(dsn, autocommit=True) as connection:
            return int(connection.execute(_SIZE).fetchone()[0])  # type: ignore[index]

    @contextlib.contextmanager
    def gate(self, dsn: str, table: str | None) -> Iterator[Gate]:
        """Hold `table` locked so that nobody can claim, until the gate is opened."""
        with psycopg.connect(dsn) as connection:
            if table is not None:
                connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(_table(table)))
            yield Gate(connection, self.admin, table is not None)

    @contextlib.contextmanager
    def held_snapshot(self, dsn: str) -> Iterator[None]:
        """Another connection's forgotten transaction: no dead row can be removed while the block runs."""
        with psycopg.connect(dsn) as connection:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            connection.execute("SELECT count(*) FROM pg_class")
            yield

    def _value(self, query: str, *params: object) -> Any:
        row = self.admin.execute(query, params or None).fetchone()
        assert row is not None
        return row[0]


@dataclass
class Gate:
    """Where worker processes wait, started and connected, until all of them may begin at the same moment."""

    _connection: psycopg.Connection[Any]
    _admin: psycopg.Connection[Any]
    closed: bool

    def wait_for(self, workers: int) -> None:
        """Until that many sessions stand at the gate and no more arrive."""
        seen, since, ends = 0, time.monotonic(), time.monotonic() + _GATE_SECONDS
        while time.monotonic() < ends:
            now = self._waiting()
            if now != seen:
                seen, since = now, time.monotonic()
            elif seen >= workers and time.monotonic() - since > _SETTLED:
                return
            time.sleep(0.02)

    def open(self) -> float:
        """Let them go; gives the server's clock at that moment, seconds since 1970."""
        row = self._connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
        self._connection.commit()
        assert row is not None
        return float(row[0])

    def _waiting(self) -> int:
        query = """SELECT count(DISTINCT pid) FROM pg_locks
                   WHERE NOT granted AND locktype = 'relation' AND mode <> 'ShareUpdateExclusiveLock'"""  # VACUUM
        row = self._admin.execute(query).fetchone()
        assert row is not None
        return int(row[0])


def _table(name: str) -> sql.Identifier:
    return sql.Identifier(*name.split("."))


def _postmaster(admin: psycopg.Connection[Any]) -> int | None:
    """The postmaster's process id when it runs here: the parent of our own backend."""
    try:
        fields = Path(f"/proc/{admin.info.backend_pid}/stat").read_text().rpartition(")")
    except OSError:
        return None
    return int(fields[2].split()[1]) if "(postgres" in fields[0] else None
