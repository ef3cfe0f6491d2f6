"""A real standby: a base backup of a running server that follows it, and can be promoted."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgjobq.devdb import Postgres
from pgjobq.devdb.account import choose_account
from pgjobq.devdb.binaries import find_bindir
from support.waiting import eventually

__all__ = ["has_base_backup", "open_standby", "together"]


def has_base_backup() -> bool:
    """Whether the server's programs come with pg_basebackup."""
    return (find_bindir() / "pg_basebackup").is_file()


@contextlib.contextmanager
def open_standby(primary: str, settings: dict[str, object]) -> Iterator[Postgres]:
    """A standby of the server of this DSN; from now on the primary waits for it with every synchronous commit.

    settings: those of the primary: a standby must not have less of anything.
    """
    root = Path(tempfile.mkdtemp(prefix="pgjobq-standby-", dir="/tmp"))
    parts, account = conninfo_to_dict(primary), choose_account()
    try:
        root.chmod(0o755)
        account.own(root)
        command = [find_bindir() / "pg_basebackup", "-D", root / "data", "-d", primary, "-R", "-c", "fast", "--no-sync"]
        copied = subprocess.run(command, capture_output=True, text=True, cwd="/", **account.popen)
        assert copied.returncode == 0, copied.stderr
        (root / "password").write_text(str(parts["password"]))
        (root / "password").chmod(0o600)
        with Postgres(root, tcp=True, settings=settings | {"fsync": "off"}, timeout=60) as standby:
            _follow(primary)
            yield standby
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _follow(primary: str) -> None:
    """Until it receives what is written; then let it be waited for."""
    with psycopg.connect(primary, autocommit=True) as conn:
        following = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
        eventually(lambda: conn.execute(following).fetchone() == (1,), 60)
        conn.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        conn.execute("SELECT pg_reload_conf()")
        safe = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
        eventually(lambda: conn.execute(safe).fetchone() == (1,), 60)


def together(*servers: str, **more: str) -> str:
    """One connection string for several servers, in this order."""
    parts = [conninfo_to_dict(dsn) for dsn in servers]
    places = {name: ",".join(str(each[name]) for each in parts) for name in ("host", "port")}
    return make_conninfo(**{**parts[0], **places, **more})
