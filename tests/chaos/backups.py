"""Dumps of a database, and servers into which they are restored."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from pgjobq.devdb import Postgres
from pgjobq.devdb.binaries import INSTALLED, OLDEST_MAJOR, find_bindir, holds_server, read_version

__all__ = ["dump", "major_of", "older_bindir", "open_restored"]

NEWEST = find_bindir()


def major_of(bindir: Path) -> int:
    """The major version of the programs in there."""
    return int(read_version(bindir).partition(".")[0] or 0)


def older_bindir() -> Path | None:
    """An installed server of an older major version than the one that is usually taken."""
    found = [path for pattern in INSTALLED for path in Path("/").glob(pattern.lstrip("/")) if holds_server(path)]
    return next((path for path in found if OLDEST_MAJOR <= major_of(path) < major_of(NEWEST)), None)


def dump(dsn: str, into: Path) -> Path:
    """pg_dump of the whole database, by the newest programs."""
    _run("pg_dump", "--format=custom", f"--file={into}", f"--dbname={dsn}")
    return into


@contextlib.contextmanager
def open_restored(dumped: Path, like: str, settings: dict[str, object]) -> Iterator[tuple[Postgres, str]]:
    """A new server with what was dumped, whom the same password lets in; and its DSN. `like`: the old server's DSN."""
    password = str(conninfo_to_dict(like)["password"])
    with Postgres(tcp=True, settings=settings, timeout=60) as postgres:
        own = postgres.dsn()
        _run("pg_restore", "--exit-on-error", f"--dbname={own}", str(dumped))
        with psycopg.connect(own, autocommit=True) as conn:
            conn.execute(sql.SQL("ALTER ROLE postgres PASSWORD {}").format(password))
            conn.execute("ANALYZE")
        parts = conninfo_to_dict(own)
        yield postgres, f"postgresql://postgres:{password}@{parts['host']}:{parts['port']}/postgres"


def _run(program: str, *arguments: str) -> None:
    done = subprocess.run([NEWEST / program, *arguments], capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr
