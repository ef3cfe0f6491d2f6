"""An owner that is frozen or cut off past its lease: its job goes to another, and what it reports later is refused."""

from __future__ import annotations

import os
import signal

import pytest

from chaos.site import Site
from chaos.workers import ChaosWorker

pytestmark = pytest.mark.chaos

HELD = ("hold", "hold_and_fail", "hold_and_nap", "hold_and_transfer")
HASTE = ("--lease", "3", "--heartbeat", "0.5", "--poll-interval", "0.3", "--grace", "3")


def settled(site: Site) -> list[tuple[object, ...]]:
    """What is final of each job."""
    return site.query("SELECT job, attempt, worker, outcome, finished_at FROM pgjobq.finished ORDER BY job")


def wait_lost(worker: ChaosWorker, count: int) -> None:
    """Until it has said of so many jobs that their leases are lost."""
    from support.waiting import eventually

    eventually(lambda: len(worker.events("lease_lost")) >= count)


def test_a_frozen_owner_is_refused(site: Site) -> None:
    """SIGSTOP of the process for longer than the lease; then it reports a success, a failure, a snooze and a
    complete(conn)."""
    owner = site.worker(*HASTE).ready()
    keys = [site.enqueue(task)[0] for task in HELD]
    site.wait_starts(len(HELD))
    other = site.worker(*HASTE).ready()
    pids = owner.children()
    with site.fault("SIGSTOP past the lease", workers=[owner], isolated=pids):
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        site.wait_starts(len(HELD), worker=other.name)
        site.open_gate(2)
        assert site.settle_down(), site.logs()
        before = settled(site)
        assert {row[1] for row in before} == {2}
        other.stop()
        site.open_gate(1)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    site.enqueue("quick", 3)
    assert site.settle_down(), site.logs()
    wait_lost(owner, 3)
    assert settled(site)[: len(keys)] == before
    assert owner.stop() == 0
    site.demand_kept_promises()


def test_an_owner_that_is_cut_off_is_refused(proxied_site: Site) -> None:
    """Everything between owner and server is dropped for longer than the lease, while its handlers end."""
    site = proxied_site
    assert site.proxy is not None
    owner = site.worker(*HASTE, way="proxied").ready()
    site.enqueue("hold", 3)
    site.wait_starts(3)
    other = site.worker(*HASTE).ready()
    with site.fault("network: black hole", workers=[owner], isolated=owner.children()):
        site.proxy.set("black_hole")
        site.wait_starts(3, worker=other.name)
        site.open_gate(1)
        site.open_gate(2)
        assert site.settle_down(), site.logs()
        before = settled(site)
        site.proxy.set("pass")
    other.stop()
    site.enqueue("quick", 3)
    assert site.settle_down(), site.logs()
    wait_lost(owner, 3)
    assert settled(site)[:3] == before
    assert owner.stop() == 0
    site.demand_kept_promises()
