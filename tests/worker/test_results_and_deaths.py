"""Results of handlers whose workers are killed: kept once, of the attempt that completed, and told to whoever waits."""

from __future__ import annotations

import os
import random
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg_pool
import pytest

from pgjobq import Queue
from worker.stage import Stage, eventually

APP = "apps.returning:queue"
JOBS = 60


@pytest.mark.parametrize("seed", [1, 2])
def test_whoever_waits_has_the_result_of_the_attempt_that_completed(stage: Stage, seed: int) -> None:
    made = random.Random(seed)
    flags = ("--lease", "1.5", "--heartbeat", "0.3", "--concurrency", "5")
    workers = [stage.worker(*flags, app=APP).ready() for _ in range(2)]
    with (
        psycopg_pool.ConnectionPool(stage.dsn, min_size=JOBS, max_size=JOBS, open=True, timeout=60) as pool,
        ThreadPoolExecutor(JOBS) as threads,
    ):
        queue = Queue(pool=pool)
        jobs: dict[int, int] = {}
        waiting: dict[int, Any] = {}
        for n in range(JOBS):
            task = made.choice(["on_loop", "in_thread", "in_cell"])
            job = stage.enqueue(task, {"n": n, "seconds": made.choice([0.0, 0.05, 0.3])})
            jobs[job] = n
            waiting[job] = threads.submit(queue.wait, job, 120)
            if n % 15 == 10:
                stage.wait_marks("start", n // 2)
                os.kill(made.choice(eventually(made.choice(workers).children) or []), signal.SIGKILL)
        told = {job: future.result(120) for job, future in waiting.items()}
    for job, n in jobs.items():
        row = stage.job(job)
        assert row["state"] == "succeeded", row
        assert row["result"] == {"n": n, "attempt": row["attempt"]}, "of the attempt that completed it, and of no other"
        assert queue.result_of(told[job]) == row["result"]
        starts = [mark["attempt"] for mark in stage.starts(job)]
        assert starts == sorted(set(starts)), "no attempt ran twice"
        assert row["attempt"] in starts
    assert stage.value("SELECT count(*) FROM pgjobq.attempt_error") >= 1, "some were killed while they ran"
