"""A machine that stands still for longer than a lease (a laptop's lid, a paused VM), and goes on."""

from __future__ import annotations

import os
import signal

import pytest

from worker.stage import Stage, wait_until

LEASE = ("--lease", "3", "--heartbeat", "0.5")
RUN_OUT = "SELECT bool_and(expires_at < clock_timestamp() - interval '1 second') FROM pgjobq.worker"


@pytest.mark.parametrize("workers", [1, 2])
def test_jobs_go_on_if_nobody_else_took_them(stage: Stage, workers: int) -> None:
    """Everything on it wakes at the same time, and all leases have run out: nobody takes that for a death."""
    started = [stage.worker(*LEASE).ready() for _ in range(workers)]
    wait_until(lambda: stage.value("SELECT count(*) FROM pgjobq.worker") == workers)
    for _ in range(2):
        jobs = [stage.enqueue("nap", {"seconds": 8}) for _ in range(2)]
        stage.wait_marks("start", 2)
        for worker in started:
            for pid in (worker.pid, *worker.children()):
                os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: stage.value(RUN_OUT))
        for worker in started:
            os.killpg(worker.pid, signal.SIGCONT)
        for job in jobs:
            stage.wait_state(job, "succeeded")
            assert stage.job(job)["attempt"] == 1
    assert [event for worker in started for event in worker.events("jobs_taken_back")] == []
