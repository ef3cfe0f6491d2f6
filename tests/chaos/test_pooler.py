"""PgBouncer in transaction mode between worker and server: it says that it polls, and it drains."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import pytest

from chaos import faults
from chaos.bouncer import open_bouncer
from chaos.site import Site
from chaos.workers import SHORT
from support.bouncer import needed_pgbouncer

pytestmark = pytest.mark.chaos


@pytest.fixture
def pooled_site(own_site: Site) -> Iterator[Site]:
    """With PgBouncer in front of its server."""
    with open_bouncer(needed_pgbouncer(), own_site.dsn) as own_site.bouncer:
        yield own_site
        own_site.destroy()


@pytest.mark.parametrize("flags", [(), pytest.param(("--poll-only",), marks=pytest.mark.slow)])
def test_jobs_are_drained_through_a_pooler(pooled_site: Site, flags: tuple[str, ...]) -> None:
    """Two workers, PgBouncer killed and started in between: all jobs done, nobody died."""
    site = pooled_site
    workers = [site.worker(*SHORT, *flags, way="pooled").ready() for _ in range(2)]
    if not flags:
        for worker in workers:
            worker.wait_event("polling")
    site.one_of_each(4)
    with faults.kill_bouncer(site, random.Random(1)):
        time.sleep(1)
    site.one_of_each(4)
    assert site.settle_down(), site.logs()
    assert [worker.stop() for worker in workers] == [0, 0]
    assert site.deaths() == []
    site.demand_kept_promises()
