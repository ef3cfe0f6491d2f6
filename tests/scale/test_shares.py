"""Several worker processes: each gets its share, and together they do more."""

from __future__ import annotations

from collections import Counter

import pytest

from worker.stage import Stage, wait_until

JOBS = 1_200
PLACES = 5


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_get_equal_shares(stage: Stage, processes: int) -> None:
    """Of a backlog of like jobs every process runs its part: none sits idle while another hoards."""
    worker = stage.worker("--processes", str(processes), "--concurrency", str(PLACES)).ready()
    wait_until(lambda: stage.value("SELECT count(*) FROM pgjobq.worker") == processes)
    stage.enqueue_many("nap", JOBS, {"seconds": 0.03})
    stage.wait_all("succeeded")
    shares = Counter(dict(stage.query("SELECT worker, count(*) FROM pgjobq.finished GROUP BY 1")))
    print(shares.values())
    assert len(shares) == processes
    mean = JOBS / processes
    assert min(shares.values()) > 0.6 * mean, shares
    assert max(shares.values()) < 1.5 * mean, shares
    assert worker.stop() == 0


def test_nobody_hoards_the_last_jobs(stage: Stage) -> None:
    """As many jobs as there are places in all: every process has its places full, none has claimed for later."""
    stage.worker("--processes", "4", "--concurrency", str(PLACES)).ready()
    wait_until(lambda: stage.value("SELECT count(*) FROM pgjobq.worker") == 4)
    stage.enqueue_many("hold", 4 * PLACES)
    marks = stage.wait_marks("start", 4 * PLACES)
    assert sorted(Counter(mark["pid"] for mark in marks).values()) == [PLACES] * 4
    stage.open_gate()
    stage.wait_all("succeeded")
