"""The server crashes, is killed, or takes no writes for a while: no worker dies, and no healthy job is run again."""

from __future__ import annotations

import random
import time

import pytest

from chaos import faults
from chaos.load import running_load
from chaos.site import Site

pytestmark = pytest.mark.chaos

DEEDS = {"crash": faults.crash_server, "read_only": faults.make_read_only, "exhausted": faults.exhaust}
RARER = {"kill": faults.kill_server, "tightened": faults.tighten}
BOUND, NOISE = 2.0, 5.0
"""Seconds from the end of such a fault to the next start, and what a busy machine may add; seen: docs/promises.md."""


@pytest.mark.parametrize("deed", [*DEEDS, *(pytest.param(deed, marks=pytest.mark.slow) for deed in RARER)])
def test_four_seconds_without_the_server(own_site: Site, deed: str) -> None:
    """Longer than the lease of 3 s. Jobs run on and end meanwhile; their outcomes are written afterwards."""
    site = own_site
    workers = [site.worker().ready() for _ in range(2)]
    site.enqueue("work", 6, seconds=2.5)
    site.enqueue("work", 6, seconds=6)
    site.wait_starts(12)
    site.query("CREATE TABLE flush ()")  # what was committed asynchronously is on disk with this commit
    with (DEEDS | RARER)[deed](site, random.Random(1)):
        time.sleep(4)
    healed = time.monotonic()
    key = site.enqueue("quick")[0]
    came = site.wait_starts(1, key)[0].at - healed
    print(f"{deed}: {came:.1f} s to the next start")
    assert came < BOUND + NOISE
    assert site.settle_down(), site.logs()
    if deed != "exhausted":  # there one may get through and the other not, and then its lease does run out
        assert len(site.starts()) == 13
    assert [worker.stop() for worker in workers] == [0, 0]
    assert site.deaths() == []
    site.demand_kept_promises()


def test_connections_that_are_terminated_again_and_again(own_site: Site) -> None:
    """Ten times every connection of every worker, under load."""
    site = own_site
    workers = [site.worker().ready() for _ in range(2)]
    for _ in range(10):
        site.one_of_each(2)
        with faults.terminate(site, random.Random(1)):
            time.sleep(0.2)
    assert site.settle_down(), site.logs()
    assert [worker.stop() for worker in workers] == [0, 0]
    site.demand_kept_promises()


def test_a_process_that_is_killed_while_the_server_is_away(own_site: Site) -> None:
    """Its replacement waits for the server: one death, the one that was made."""
    site = own_site
    assert site.postgres is not None
    worker = site.worker().ready()
    with faults.crash_server(site, random.Random(1)):
        for pid in worker.children():
            worker.kill_process(pid)
        time.sleep(3)
    site.enqueue("quick", 3)
    assert site.settle_down(30), site.logs()
    assert len(worker.events("process_died")) == 1
    assert worker.stop() == 0
    site.demand_kept_promises()


@pytest.mark.parametrize("isolation", ["serializable", "repeatable read"])
def test_a_role_with_time_outs_and_a_stricter_isolation(own_site: Site, isolation: str) -> None:
    """What a database or a role imposes does not reach the worker's own connections; producers and handlers live
    with it."""
    site = own_site
    for setting, value in faults.STRICT.items():
        site.query(f"ALTER ROLE postgres SET {setting} = {value}")
    site.query(f"ALTER ROLE postgres SET default_transaction_isolation = '{isolation}'")
    workers = [site.worker().ready() for _ in range(2)]
    with running_load(site.dsn, site.history, 1, deadly=0, pause=0.05):
        time.sleep(2)
    site.enqueue("work_plain", 2, seconds=1.5)
    assert site.settle_down(), site.logs()
    for worker in workers:
        assert worker.events("connection_lost") == []
        assert worker.events("chore_failed") == []
    assert [worker.stop() for worker in workers] == [0, 0]
    site.demand_kept_promises()
