"""The server's disk is full for some seconds: workers wait, jobs go on afterwards."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from chaos import faults
from chaos.disk import can_mount, mount_disk
from chaos.load import running_load
from chaos.site import Site, open_server

pytestmark = pytest.mark.chaos

SMALL = {"min_wal_size": "32MB", "max_wal_size": "48MB", "shared_buffers": "16MB", "fsync": "off"}


@pytest.fixture
def small_site(tmp_path: Path) -> Iterator[Site]:
    """A server with its data on a disk of 160 MB."""
    if not can_mount():
        pytest.skip("filling a disk takes one that may be mounted: Linux and root")
    with mount_disk(160) as disk, open_server(disk.path / "data", **SMALL) as (postgres, dsn):
        site = Site(dsn, tmp_path, postgres)
        site.disk = disk
        yield site
        site.destroy()


def test_six_seconds_without_space(small_site: Site) -> None:
    """Under load, with pages to write: some statements fail with 53100, or the whole server goes down over its log."""
    site = small_site
    workers = [site.worker().ready() for _ in range(2)]
    site.query("CREATE TABLE ballast AS SELECT repeat('x', 500) AS x FROM generate_series(1, 1000)")
    refused = 0
    with running_load(site.dsn, site.history, 1, deadly=0, pause=0.05):
        time.sleep(1)
        with faults.fill_disk(site, random.Random(1)):
            end = time.monotonic() + 6
            while time.monotonic() < end:
                try:  # bulk that needs new pages: the disk is really full
                    site.query("INSERT INTO ballast SELECT repeat('x', 500) FROM generate_series(1, 2000)")
                except psycopg.OperationalError:
                    refused += 1
                time.sleep(0.2)
        time.sleep(1)
    assert refused > 0
    assert site.settle_down(), site.logs()
    print(f"disk full: {refused} statements of the test refused, {len(site.starts())} starts")
    assert [worker.stop() for worker in workers] == [0, 0]
    assert site.deaths() == []
    site.demand_kept_promises()
