"""Workers whose clocks are an hour off, one fast and one slow: the server's clock is the only one that counts."""

from __future__ import annotations

import datetime as dt

import pytest

from chaos.site import Site

pytestmark = pytest.mark.chaos

HOUR = 3600


def test_two_clocks_an_hour_off(site: Site) -> None:
    """Delays, retries, snoozes and leases are what they are with clocks that are right."""
    fast = site.worker(CHAOS_CLOCK=str(HOUR)).ready()
    slow = site.worker(CHAOS_CLOCK=str(-HOUR)).ready()
    hours = [dt.datetime.fromisoformat(w.events("worker_started")[0]["time"]) for w in (fast, slow)]
    assert dt.timedelta(hours=1.9) < hours[0] - hours[1] < dt.timedelta(hours=2.1), "their clocks are off"
    site.one_of_each(3)
    site.enqueue("work", 4, seconds=4)  # longer than the lease of 3 s
    with_delay = site.query("SELECT pgjobq.enqueue('quick', '{\"key\": \"later\"}', delay => '2 s')")[0][0]
    site.history.write("enqueued", "later", fate="committed")
    assert site.settle_down(), site.logs()
    waited = "SELECT extract(epoch FROM started_at - created_at)::float8 FROM pgjobq.jobs WHERE id = %s"
    assert 2.0 <= site.query(waited, with_delay)[0][0] < 10
    stamps = "SELECT count(*) FROM pgjobq.finished WHERE abs(extract(epoch FROM finished_at - now())) > 600"
    assert site.query(stamps) == [(0,)]
    late = site.enqueue("hold", 2)
    site.wait_starts(1, late[0])
    for pid in slow.children():  # a dead one is found by the server's clock, too
        slow.kill_process(pid)
    site.open_gate(1)
    site.open_gate(2)
    assert site.settle_down(), site.logs()
    for worker in (fast, slow):
        assert worker.events("lease_lost") == []
        assert worker.stop() == 0
    site.demand_kept_promises()
