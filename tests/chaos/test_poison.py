"""A job that kills its worker is run as often as it may be, and then it has failed; the others go on."""

from __future__ import annotations

import pytest

from chaos.site import Site

pytestmark = pytest.mark.chaos


def test_a_job_that_kills_its_worker_is_run_three_times(site: Site) -> None:
    workers = [site.worker().ready() for _ in range(2)]
    key = site.enqueue("poison")[0]
    site.enqueue("quick", 20)
    site.enqueue("work", 4, seconds=0.5)
    assert site.settle_down(), site.logs()
    assert len(site.starts(key)) == 3
    row = site.query("SELECT state, attempt, reason FROM pgjobq.jobs WHERE task = 'poison'")[0]
    assert row[:2] == ("failed", 3)
    assert "SIGKILL" in row[2]
    assert sum(len(worker.events("process_died")) for worker in workers) == 3
    assert [worker.stop() for worker in workers] == [0, 0]
    site.demand_kept_promises()


def test_an_isolated_job_that_kills_its_process_is_run_three_times(site: Site) -> None:
    """The same, and no worker process dies."""
    worker = site.worker().ready()
    key = site.enqueue("poison_isolated")[0]
    site.enqueue("quick", 20)
    site.enqueue("work", 4, seconds=0.5)
    assert site.settle_down(), site.logs()
    assert len(site.starts(key)) == 3
    row = site.query("SELECT state, attempt, reason FROM pgjobq.jobs WHERE task = 'poison_isolated'")[0]
    assert row[:2] == ("failed", 3)
    assert "IsolatedProcessDied" in row[2]
    assert "SIGKILL" in row[2]
    assert site.query("SELECT max(attempt) FROM pgjobq.finished WHERE outcome = 's'") == [(1,)]
    assert worker.events("process_died") == []
    assert worker.stop() == 0
    site.demand_kept_promises()
