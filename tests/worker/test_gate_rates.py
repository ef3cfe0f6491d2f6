"""Rates and fair shares with real workers, some of which are killed."""

from __future__ import annotations

import random
import statistics
import time
from collections import Counter
from datetime import datetime
from itertools import pairwise

import psycopg
import pytest

from pgjobq import Gate, Queue, Rate
from support.waiting import eventually
from worker.stage import Stage
from worker.test_gates import APP, QUICK, kill_some

queue = Queue()


@queue.task(gates=[Gate("sms:{country}", rate=Rate(20, per=1.0, burst=3))])
def text(country: str, fails: int = 0, seconds: float = 0.01) -> None:
    """What the app has; its module can be imported by workers only."""


@queue.task(gates=[Gate("mail", fair="{tenant}", weights={"heavy": 3})])
def mail(tenant: str, seconds: float = 0.05) -> None:
    """Likewise."""


STARTS = """
SELECT j.args ->> 'country' AS country, s.started_at FROM pgjobq.job j JOIN (
    SELECT job, started_at FROM pgjobq.finished UNION ALL SELECT job, started_at FROM pgjobq.attempt_error e
    WHERE NOT EXISTS (SELECT FROM pgjobq.finished f WHERE f.job = e.job AND f.attempt = e.attempt)) s ON s.job = j.id
ORDER BY s.started_at
"""


def most_over(starts: list[datetime], rate: float) -> float:
    """By how many starts the fullest window of any length exceeds what comes in it at the rate: how deep the bucket had
    to be."""
    level, worst = 0.0, 0.0
    last = starts[0].timestamp()
    for start in starts:
        level = max(0.0, level - (start.timestamp() - last) * rate) + 1
        last = start.timestamp()
        worst = max(worst, level)
    return worst


@pytest.mark.timeout(300)
def test_a_rate_is_never_exceeded_though_workers_are_killed_and_nobody_starves(stage: Stage) -> None:
    rng = random.Random(11)
    with psycopg.connect(stage.dsn) as conn:
        queue.enqueue_many(
            [text.call(country="fr" if n % 3 else "it", fails=int(n % 11 == 0)) for n in range(150)], conn=conn
        )
    for _ in range(3):
        stage.worker(*QUICK, "--concurrency", "8", app=APP)
    kill_some(stage, 4, rng)
    stage.wait_all("succeeded", timeout=120)
    found = stage.query(STARTS)
    assert len(found) >= 150
    for country in ("fr", "it"):
        starts = [at for of, at in found if of == country]
        assert most_over(starts, 20) <= 3 + 0.05, "a window saw more than the burst and the rate"
    assert stage.value("SELECT count(*) FROM pgjobq.misplaced") == 0
    assert stage.value("SELECT count(*) FROM pgjobq.gate_pass WHERE token") == 0


def test_the_rate_is_used_and_the_tokens_are_slept_towards(stage: Stage) -> None:
    """With a poll interval of 30 s nobody would come in time by polling."""
    with psycopg.connect(stage.dsn) as conn:
        queue.enqueue_many([text.call(country="fr") for _ in range(63)], conn=conn)
    stage.worker("--poll-interval", "30", app=APP)
    stage.wait_all("succeeded")
    starts = [at for _, at in stage.query(STARTS)]  # by the clock of the tokens
    took = (starts[-1] - starts[0]).total_seconds()
    gaps = [(after - before).total_seconds() for before, after in pairwise(starts[3:])]
    print(f"60 tokens at 20/s took {took:.2f} s; gaps: median {statistics.median(gaps) * 1000:.1f} ms")
    assert took >= 3.0 - 0.15
    assert took < 12, "3.0 s on a machine that does nothing else"


@pytest.mark.parametrize("workers", [1, 2])
def test_one_job_of_another_tenant_waits_for_no_backlog(stage: Stage, workers: int) -> None:
    with psycopg.connect(stage.dsn) as conn:
        queue.enqueue_many([mail.call(tenant="big") for _ in range(10_000)], conn=conn)
    for _ in range(workers):
        stage.worker("--concurrency", "5", app=APP)
    stage.wait_marks("start", 50)
    delays = []
    for turn in range(5):
        with psycopg.connect(stage.dsn) as conn:
            sent = time.monotonic()
            mail.using(conn=conn).enqueue(tenant=f"small{turn}")
        delays.append(next(m["at"] for m in eventually_marked(stage, f"small{turn}")) - sent)
    left = stage.value("SELECT count(*) FROM pgjobq.blocked")
    print(f"delays: {[f'{delay * 1000:.0f} ms' for delay in delays]}, while {left} of another waited")
    assert left > 500
    assert statistics.median(delays) < 1.0, "about two rounds of 50 ms"


def eventually_marked(stage: Stage, tenant: str) -> list[dict[str, float]]:
    """The start of this tenant's job."""
    return eventually(lambda: [m for m in stage.marks("start") if m["key"] == tenant] or None, 60) or []


@pytest.mark.timeout(300)
def test_shares_of_the_throughput_follow_the_weights_though_workers_are_killed(stage: Stage) -> None:
    rng = random.Random(3)
    with psycopg.connect(stage.dsn) as conn:
        calls = [mail.call(tenant=tenant, seconds=0.01) for tenant in ("heavy", "a", "b") for _ in range(600)]
        queue.enqueue_many(calls, conn=conn)
    for _ in range(2):
        stage.worker(*QUICK, "--concurrency", "4", app=APP)
    kill_some(stage, 2, rng)
    stage.wait_all("succeeded", timeout=120)
    starts = [mark["key"] for mark in sorted(stage.marks("start"), key=lambda mark: mark["at"])]
    counts = Counter(starts[:800])
    print(f"of the first 800 starts: {dict(counts)}")
    assert abs(counts["heavy"] - 480) < 40
    assert abs(counts["a"] - counts["b"]) < 40
    assert stage.value("SELECT count(*) FROM pgjobq.misplaced") == 0
