"""The tablespace for temporary files is full: what needs one is refused, and everything else goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from chaos import app
from chaos.disk import Disk, can_mount, mount_disk
from chaos.site import Site, open_server
from pgjobq.devdb.account import choose_account

pytestmark = pytest.mark.chaos

MANY = 4000


@pytest.fixture
def cramped_site(tmp_path: Path) -> Iterator[tuple[Site, Disk]]:
    """A server that sorts and spills on a disk of 8 MB, and does so early."""
    if not can_mount():
        pytest.skip("filling a disk takes one that may be mounted: Linux and root")
    with mount_disk(8) as disk, open_server(work_mem="64kB") as (postgres, dsn):
        place = disk.path / "temp"
        place.mkdir()
        choose_account().own(place)
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute(f"CREATE TABLESPACE cramped LOCATION '{place}'".encode())
            conn.execute("ALTER DATABASE postgres SET temp_tablespaces = cramped")
        site = Site(dsn, tmp_path, postgres)
        yield site, disk
        site.destroy()


def enqueue_many(site: Site) -> None:
    """So many jobs that the server needs a temporary file: those that are not alike."""
    keys = [f"bulk-{number}" for number in range(MANY)]
    with psycopg.connect(site.dsn) as conn:
        app.queue.enqueue_many([app.quick.using(ref=key).call(key=key) for key in keys], conn=conn)
    for key in keys:
        site.history.write("enqueued", key, fate="committed")


def test_no_space_for_temporary_files(cramped_site: tuple[Site, Disk]) -> None:
    site, disk = cramped_site
    worker = site.worker().ready()
    with site.fault("temporary tablespace full", workers=[worker]):
        disk.fill()
        with pytest.raises(psycopg.errors.DiskFull):
            enqueue_many(site)
        assert site.query("SELECT count(*) FROM pgjobq.job") == [(0,)], "all of it was refused"
        site.one_of_each(5)  # singly, they need none
        assert site.settle_down(), site.logs()
        disk.free()
    enqueue_many(site)
    assert site.settle_down(), site.logs()
    assert worker.stop() == 0
    assert site.deaths() == []
    site.demand_kept_promises()
