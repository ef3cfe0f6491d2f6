"""A LISTEN that died without a word costs at most one poll interval."""

from __future__ import annotations

import time

import pytest

from chaos.mutants import MUTANTS
from chaos.site import Site
from chaos.workers import SHORT

pytestmark = pytest.mark.chaos


def test_nobody_hears_and_jobs_start_all_the_same(site: Site) -> None:
    """Notifications go nowhere (as if the listener had died silently); the poll interval is 0.5 s."""
    MUTANTS["nobody_is_woken"].infect_database(site.dsn)
    worker = site.worker(*SHORT).ready()
    waits = []
    for _ in range(5):
        time.sleep(2)  # idle for long enough to have reached the longest nap
        enqueued = time.monotonic()
        key = site.enqueue("quick")[0]
        waits.append(site.wait_starts(1, key)[0].at - enqueued)
    print("unheard:", ", ".join(f"{wait:.2f} s" for wait in waits))
    assert min(waits) < 1.5
    assert worker.stop() == 0
    site.demand_kept_promises()
