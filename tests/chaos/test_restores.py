"""Another database in the place of the one that was: a dump restored, an old backup, a newer major version.

In the new server transaction numbers start anew, and after an old backup so do ids: whatever a running worker remembers
of the old one is wrong. It is led to the new one by the proxy, as by a changed address.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from chaos.backups import NEWEST, dump, major_of, older_bindir, open_restored
from chaos.proxy import Proxy
from chaos.site import SERVER, Site
from chaos.workers import ChaosWorker
from pgjobq.devdb import Postgres
from pgjobq.migrate import install
from support.conservation import check_conservation
from support.dsn import as_url

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

SOON = 10.0
"""Seconds to the first start of a job that is enqueued in the new database; the sweep that makes up for a wrong memory
comes every 30 s."""

BURN = "DO $$ BEGIN FOR i IN 1..5000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"
"""So that the new server's transaction numbers are far behind."""


@contextlib.contextmanager
def open_moving_site(directory: Path, bindir: Path) -> Iterator[Site]:
    """A site whose workers reach their server through a proxy that can be pointed elsewhere."""
    with Postgres(tcp=True, bindir=bindir, settings=SERVER, timeout=60) as postgres:
        with psycopg.connect(postgres.dsn()) as conn:
            install(conn)
        site = Site(postgres.dsn(), directory, postgres)
        parts = conninfo_to_dict(site.dsn)
        with Proxy(str(parts["host"]), int(parts["port"] or 0)) as site.proxy:
            yield site
            site.destroy()


def start(site: Site, *flags: str) -> ChaosWorker:
    """A worker whose every connection, its handlers' too, goes through the proxy."""
    assert site.proxy is not None
    return site.worker(*flags, way="proxied", CHAOS_DSN=as_url(site.dsn, port=site.proxy.port)).ready()


def move(site: Site, dsn: str) -> float:
    """From now on the workers' server is this one; when that was."""
    assert site.proxy is not None
    parts = conninfo_to_dict(dsn)
    site.dsn = dsn
    site.proxy.point_at(str(parts["host"]), int(parts["port"] or 0))
    return time.monotonic()


def soon_after(site: Site, moved: float) -> str:
    """A job that is enqueued now is started soon."""
    key = site.enqueue("quick")[0]
    came = site.wait_starts(1, key, timeout=60)[0].at - moved
    print(f"{came:.1f} s to the next start")
    assert came < SOON, site.logs()
    return key


@pytest.mark.parametrize("upgrade", [False, True], ids=["dump and restore", "major upgrade"])
def test_a_dump_is_restored_elsewhere(tmp_path: Path, upgrade: bool) -> None:
    """In order: writes are stopped, the database is dumped, restored and put in place. Jobs run on meanwhile, their
    outcomes are written to the new database, and nothing is lost or done twice."""
    bindir = older_bindir() if upgrade else NEWEST
    if bindir is None:
        pytest.skip("a major upgrade takes two installed versions of PostgreSQL")
    lease = ("--lease", "20", "--heartbeat", "1", "--poll-interval", "0.5", "--grace", "5")
    with open_moving_site(tmp_path, bindir) as site:
        assert site.postgres is not None
        assert site.proxy is not None
        worker = start(site, *lease)
        site.query(BURN)
        site.enqueue("quick", 300)
        assert site.settle_down(), site.logs()
        site.enqueue("work", 4, seconds=3)
        site.one_of_each(1)
        site.wait_starts(300 + 4)
        with site.fault("restored elsewhere", workers=[worker], outage=True):
            site.proxy.set("refuse")
            dumped = dump(site.dsn, tmp_path / "dump")
            before = site.query("SELECT txid_current()")[0][0]
            with open_restored(dumped, site.dsn, SERVER) as (_, dsn):
                moved = move(site, dsn)
                assert site.query("SELECT txid_current()")[0][0] < before
                soon_after(site, moved)
                assert site.settle_down(), site.logs()
                shown = site.query("SHOW server_version")[0][0]
                print(f"from {major_of(bindir)} to {shown}, {len(site.starts())} starts")
                assert worker.events("lease_lost") == []
                assert worker.stop() == 0
                check_conservation(dsn)
                site.demand_kept_promises()


@pytest.mark.parametrize("known", [True, False], ids=["of a known worker", "of before the worker"])
def test_an_old_backup_is_restored(tmp_path: Path, known: bool) -> None:
    """What came after the backup is gone; ids and transaction numbers are handed out again. What the backup holds runs
    to its end, and so does what is enqueued now. known: the worker stands in the backup, so that it goes on under its
    id; else it has to notice that nobody knows it."""
    with open_moving_site(tmp_path, NEWEST) as site:
        assert site.proxy is not None
        early = start(site) if known else None
        site.enqueue("nap_first", 3)
        dumped = dump(site.dsn, tmp_path / "dump")
        worker = early or start(site)
        site.query(BURN)
        site.enqueue("quick", 200)
        assert site.settle_down(), site.logs()
        site.enqueue("work", 2, seconds=3)
        site.wait_starts(200 + 2)
        with open_restored(dumped, site.dsn, SERVER) as (_, dsn):
            moved = move(site, dsn)
            key = soon_after(site, moved)
            assert site.query("SELECT id FROM pgjobq.job WHERE args->>'key' = %s", key)[0][0] < 20, "an id of before"
            assert site.settle_down(), site.logs()
            soon_after(site, time.monotonic())
            site.one_of_each(2)
            assert site.settle_down(), site.logs()
            states = dict(site.query("SELECT state, count(*) FROM pgjobq.jobs GROUP BY state"))
            assert states == {"succeeded": 3 + 2 + 12, "failed": 2, "cancelled": 2}
            assert len(worker.events("lease_lost")) <= 2 + 3
            assert worker.events("process_died") == []
            assert worker.stop() == 0
            check_conservation(dsn)
