"""An owner that is frozen or cut off past its lease: its job goes to another, and what it reports later is refused."""

from __future__ import annotations

import os
import signal

import pytest

from chaos.site import Site
from chaos.workers import ChaosWorker
from support.waiting import eventually

pytestmark = pytest.mark.chaos

DEEDS = ("step", "sleep", "wait", "checkpoint", "progress", "heartbeat")
"""What an owner does in the midst of its work: see app."""
HELD: tuple[tuple[str, dict[str, str]], ...] = (
    ("hold", {}),
    ("hold_and_fail", {}),
    ("hold_and_nap", {}),
    ("hold_and_transfer", {}),
    *(("hold_and_do", {"deed": deed}) for deed in DEEDS),
)
HASTE = ("--lease", "3", "--heartbeat", "0.5", "--poll-interval", "0.3", "--grace", "3")


def settled(site: Site) -> list[tuple[object, ...]]:
    """What is final of each job."""
    return site.query("SELECT job, attempt, worker, outcome, finished_at FROM pgjobq.finished ORDER BY job")


WRITTEN = """SELECT 'step', job, attempt FROM pgjobq.step
UNION ALL SELECT 'checkpoint', job, attempt FROM pgjobq.checkpoint
UNION ALL SELECT 'progress', job, attempt FROM pgjobq.progress"""
"""What attempts leave behind in the midst of their work."""


def wait_lost(worker: ChaosWorker, count: int) -> None:
    """Until it has said of so many jobs that their leases are lost."""
    eventually(lambda: len(worker.events("lease_lost")) >= count)


def test_a_frozen_owner_is_refused(site: Site) -> None:
    """SIGSTOP of the process for longer than the lease; then it reports a success, a failure, a snooze and a
    complete(conn), takes a step, sleeps, waits, keeps a checkpoint, reports progress and asks whether it may go on."""
    owner = site.worker(*HASTE).ready()
    keys = [site.enqueue(task, **more)[0] for task, more in HELD]
    site.wait_starts(len(HELD))
    eventually(lambda: site.holding() == len(DEEDS))
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
    assert site.query(WRITTEN) == []
    assert owner.stop() == 0
    site.demand_kept_promises()


def test_a_frozen_owner_that_nobody_tells_is_refused(site: Site) -> None:
    """Its supervisor sleeps on while the process goes on: each deed is tried, and the database refuses it."""
    owner = site.worker(*HASTE).ready()
    keys = {deed: site.enqueue("hold_and_do", deed=deed)[0] for deed in DEEDS}
    eventually(lambda: site.holding() == len(DEEDS))
    other = site.worker(*HASTE).ready()
    pids = owner.children()
    with site.fault("SIGSTOP past the lease", workers=[owner], isolated=pids):
        for pid in (*pids, owner.pid):
            os.kill(pid, signal.SIGSTOP)
        site.wait_starts(len(DEEDS), worker=other.name)
        site.open_gate(1)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        eventually(lambda: len(ends(site, 1)) == len(DEEDS) - 1)
        assert keys["heartbeat"] not in ends(site, 1), "there is nobody who could have told it"
        os.kill(owner.pid, signal.SIGCONT)
        eventually(lambda: keys["heartbeat"] in ends(site, 1))
    site.open_gate(2)
    assert site.settle_down(), site.logs()
    told = ends(site, 1)
    assert {deed: told[key] for deed, key in keys.items() if deed != "heartbeat"} == {
        "step": "LeaseLost",
        "sleep": "LeaseLost",
        "wait": "LeaseLost",
        "checkpoint": "LeaseLost",
        "progress": "returned",
    }
    assert told[keys["heartbeat"]] in ("LeaseLost", "Interruption")
    assert {row[1] for row in settled(site)} == {2}
    assert site.query(WRITTEN) == []
    assert (owner.stop(), other.stop()) == (0, 0)
    site.demand_kept_promises()


def ends(site: Site, attempt: int) -> dict[str, str]:
    """How attempts of this number ended, by key."""
    events = site.history.read()
    return {event.key: event.facts["how"] for event in events if event.what == "ended" and event.attempt == attempt}


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
