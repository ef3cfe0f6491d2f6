"""A data directory that is kept, and shared by processes."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from pgjobq.devdb import Postgres
from pgjobq.devdb.processes import is_alive, wait_gone
from pgjobq.errors import ConfigError
from support.owners import own


def count(dsn: str) -> int:
    with psycopg.connect(dsn) as conn:
        conn.execute("CREATE TABLE IF NOT EXISTS visit (at timestamptz DEFAULT now())")
        conn.execute("INSERT INTO visit DEFAULT VALUES")
        row = conn.execute("SELECT count(*) FROM visit").fetchone()
    assert row is not None
    return int(row[0])


def test_data_outlive_the_server(kept_root: Path) -> None:
    for visits in (1, 2):
        with Postgres(kept_root / "data dir") as postgres:
            assert count(postgres.dsn()) == visits
            home = postgres.dsn()
            with psycopg.connect(postgres.dsn()) as conn:
                assert conn.execute("SHOW fsync").fetchone() == ("on",)
    assert home
    assert [path.name for path in kept_root.iterdir()] == ["data dir"]


def test_second_process_attaches_and_leaves_the_server_alone(kept_root: Path) -> None:
    with own(kept_root / "shared") as owner:
        assert not owner.attached
        with Postgres(kept_root / "shared") as guest:
            assert guest.attached
            assert guest.pid == owner.pid
            assert guest.dsn() == owner.dsn
            assert count(guest.dsn()) == 1
            with psycopg.connect(guest.dsn("template1")) as conn:
                assert conn.execute("SELECT current_database()").fetchone() == ("template1",)
            with pytest.raises(ConfigError, match="another process owns"):
                guest.crash()
        assert is_alive(owner.pid)
        assert count(owner.dsn) == 2
        owner.leave()
        assert wait_gone([owner.pid], 30) == []
    assert not (kept_root / "shared" / "address.json").exists()


def test_second_in_the_same_process_attaches_too(kept_root: Path) -> None:
    with Postgres(kept_root / "d") as first, Postgres(kept_root / "d") as second:
        assert (first.attached, second.attached) == (False, True)
        assert count(first.dsn()) + 1 == count(second.dsn())


def test_killed_owner_has_a_successor(kept_root: Path) -> None:
    with own(kept_root / "d") as owner:
        assert count(owner.dsn) == 1
        owner.process.kill()
    with Postgres(kept_root / "d") as successor:  # at once, while the watchdog is still ending the old server
        assert not successor.attached
        assert count(successor.dsn()) == 2
    assert wait_gone([owner.pid], 30) == []


def test_two_that_start_at_once_share_one_server(kept_root: Path) -> None:
    with own(kept_root / "d") as one, own(kept_root / "d") as other:
        assert sorted([one.attached, other.attached]) == [False, True]
        assert one.pid == other.pid


def test_password_is_kept_for_tcp(kept_root: Path) -> None:
    with Postgres(kept_root / "d") as by_socket:
        assert count(by_socket.dsn()) == 1
    with Postgres(kept_root / "d", tcp=True) as by_tcp:
        assert "@127.0.0.1:" in by_tcp.dsn()
        assert count(by_tcp.dsn()) == 2
    assert (kept_root / "d" / "password").stat().st_mode & 0o077 == 0


def test_half_made_cluster_is_made_again(kept_root: Path) -> None:
    unfinished = kept_root / "d" / "unfinished-0123"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    with Postgres(kept_root / "d") as postgres:
        assert count(postgres.dsn()) == 1
    assert not unfinished.exists()


def test_owner_that_was_killed_and_stopped_leaves_no_address(kept_root: Path) -> None:
    for visits in (1, 2):
        with Postgres(kept_root / "d") as postgres:
            assert count(postgres.dsn()) == visits
            postgres.kill()
        assert not (kept_root / "d" / "address.json").exists()


def test_one_object_may_start_again(kept_root: Path) -> None:
    postgres = Postgres(kept_root / "d")
    for visits in (1, 2):
        with postgres:
            assert count(postgres.dsn()) == visits


def test_cluster_of_other_making_is_refused(kept_root: Path) -> None:
    (kept_root / "PG_VERSION").write_text("18\n")
    with pytest.raises(ConfigError, match="itself a PostgreSQL data directory"):
        Postgres(kept_root).start()
    assert [path.name for path in kept_root.iterdir()] == ["PG_VERSION"]
