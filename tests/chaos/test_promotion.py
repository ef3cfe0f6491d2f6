"""The primary is lost and a real standby is promoted: workers that were given both find the new primary."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from chaos.site import SERVER, Site, open_server
from chaos.standby import has_base_backup, open_standby, together
from pgjobq.devdb import Postgres
from support.conservation import check_conservation
from support.waiting import eventually

pytestmark = pytest.mark.chaos

BOUND = 5.0
"""Seconds from the promotion to the next start; seen: docs/promises.md."""
NOISE = 5.0
"""Seconds that a busy machine may add."""


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Site, Postgres]]:
    """A site on a primary, and its standby."""
    if not has_base_backup():
        pytest.skip("this PostgreSQL comes without pg_basebackup")
    with open_server() as (primary, dsn), open_standby(dsn, SERVER) as standby:
        site = Site(dsn, tmp_path, primary)
        yield site, standby
        site.destroy()


def test_a_standby_is_promoted(pair: tuple[Site, Postgres]) -> None:
    """Under load. What was committed was on the standby too (synchronous_standby_names), so nothing may be lost; jobs
    that run meanwhile go on, and their outcomes are written to the new primary."""
    site, standby = pair
    assert site.postgres is not None
    lost, site.dsn = site.dsn, together(site.dsn, standby.dsn())
    workers = [site.worker().ready() for _ in range(2)]
    site.dsn = together(lost, standby.dsn(), target_session_attrs="read-write")
    site.one_of_each(3)
    site.enqueue("work", 4, seconds=2.5)
    site.wait_starts(20)
    site.query("CREATE TABLE flush ()")  # what was committed asynchronously is over there with this commit
    with site.fault("standby promoted", workers=workers, crash=True, outage=True):
        site.postgres.crash()
        time.sleep(1)
        with psycopg.connect(standby.dsn(), autocommit=True) as conn:
            conn.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
            conn.execute("SELECT pg_promote()")
            promoted = time.monotonic()
            conn.execute("SELECT pg_reload_conf()")
        eventually(lambda: site.query("SELECT true"), 20, ignoring=(psycopg.OperationalError,))
    key = site.enqueue("quick")[0]
    came = site.wait_starts(1, key)[0].at - promoted
    print(f"promoted: {came:.1f} s to the next start")
    assert came < BOUND + NOISE
    assert site.settle_down(), site.logs()
    assert [worker.stop() for worker in workers] == [0, 0]
    assert site.deaths() == []
    site.demand_kept_promises()
    check_conservation(standby.dsn())


def test_a_standby_that_is_named_first_is_passed_by(pair: tuple[Site, Postgres]) -> None:
    """Without target_session_attrs libpq would take whichever answers first, and keep to it."""
    site, standby = pair
    primary, site.dsn = site.dsn, together(standby.dsn(), site.dsn)
    worker = site.worker().ready()
    site.dsn = primary
    key = site.enqueue("nap_first")[0]
    site.wait_starts(2, key)
    assert site.settle_down(), site.logs()
    assert worker.events("connection_lost") == []
    assert worker.stop() == 0
    site.demand_kept_promises()


def test_a_standby_alone_is_waited_on(pair: tuple[Site, Postgres]) -> None:
    """A worker whose only server turns out to be a standby waits for its promotion."""
    site, standby = pair
    assert site.postgres is not None
    primary, site.dsn = site.dsn, standby.dsn()
    worker = site.worker()
    eventually(lambda: worker.events("connection_lost") and "standby" in worker.text, 60)
    site.dsn = primary
    site.enqueue("quick", 2)
    site.postgres.crash()
    with psycopg.connect(standby.dsn(), autocommit=True) as conn:
        conn.execute("SELECT pg_promote()")
    site.dsn = standby.dsn()
    site.query("ALTER SYSTEM SET synchronous_standby_names = ''")
    site.query("SELECT pg_reload_conf()")
    worker.ready()
    assert site.settle_down(), site.logs()
    assert worker.stop() == 0
    site.demand_kept_promises()
