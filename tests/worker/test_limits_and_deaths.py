"""Quotas, unique keys and limits of waiting jobs, with real workers of which some are killed."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest

from pgjobq import Gate, Queue, QueueFull, Quota, Unique
from worker.stage import Stage
from worker.test_gates import APP, QUICK, kill_some, most_at_once

PRODUCERS = 4
WORKERS = 3
PLACES = 8


@pytest.fixture
def queue(dsn: str) -> Iterator[Queue]:
    made = Queue(dsn)

    @made.task(gates=[Gate("desk:{desk}", quota=Quota(6, per=2))])
    def ask(desk: int, seconds: float = 0.01) -> None:
        """What the app has; its module can be imported by workers only."""

    @made.task(queue="narrow")
    def keyed(key: str, seconds: float = 0.02) -> None:
        """Likewise."""

    yield made
    made.close()


@contextmanager
def busy_producers(queue: Queue, unique: Unique | None) -> Iterator[Counter[str]]:
    """Producers that enqueue as fast as they can, and what they were answered."""
    told: Counter[str] = Counter()
    enough = threading.Event()

    def produce(number: int) -> None:
        call = queue.registry.get("keyed").using(**({"unique": unique} if unique else {}))
        rng = random.Random(number)
        while not enough.is_set():
            try:
                told["new" if call.enqueue(f"key {rng.randrange(5)}").is_new else "there"] += 1
            except QueueFull:
                told["full"] += 1

    with ThreadPoolExecutor(PRODUCERS) as threads:
        producing = [threads.submit(produce, number) for number in range(PRODUCERS)]
        try:
            yield told
        finally:
            enough.set()
        for one in producing:
            one.result(60)


def start_workers(stage: Stage) -> None:
    for _ in range(WORKERS):
        stage.worker(*QUICK, "--concurrency", str(PLACES), app=APP)


@pytest.mark.timeout(300)
def test_a_quota_is_never_exceeded_and_nobody_starves(stage: Stage, queue: Queue) -> None:
    ask = queue.registry.get("ask")
    with psycopg.connect(stage.dsn) as conn:
        queue.enqueue_many([ask.call(desk=n % 2) for n in range(60)], conn=conn)
    start_workers(stage)
    kill_some(stage, 4, random.Random(3))
    stage.wait_all("succeeded", timeout=120)
    starts = stage.query(
        """SELECT j.args ->> 'desk', floor(extract(epoch FROM s.started_at) / 2), count(*) FROM pgjobq.job j JOIN (
               SELECT job, started_at FROM pgjobq.finished UNION ALL SELECT job, started_at FROM pgjobq.attempt_error
           ) s ON s.job = j.id GROUP BY 1, 2"""
    )
    assert max(count for _, _, count in starts) == 6, "never more in a period, and it is used"
    assert sum(count for _, _, count in starts) >= 60
    assert stage.value("SELECT count(*) FROM pgjobq.misplaced") == 0
    assert stage.value("SELECT count(*) FROM pgjobq.gate_pass WHERE token") == 0


@pytest.mark.timeout(300)
def test_of_one_key_never_two_run_at_once(stage: Stage, queue: Queue) -> None:
    start_workers(stage)
    with busy_producers(queue, Unique(args=("key",))) as told:
        deaths = kill_some(stage, 4, random.Random(4))
    stage.wait_all("succeeded", timeout=120)
    assert told["there"] > 0
    assert stage.value("SELECT count(*) FROM pgjobq.job") == told["new"]
    most = most_at_once(stage.marks(), deaths)
    assert {key: most[key] for key in most if key != "all"} == {f"key {n}": 1 for n in range(5)}


@pytest.mark.timeout(300)
def test_a_limit_of_waiting_jobs_holds_and_ends_when_there_is_room(stage: Stage, queue: Queue) -> None:
    """What comes back from the dead always finds room, and so does what others are just writing; nothing else does."""
    queue.limit("narrow", waiting=30)
    start_workers(stage)
    fullest = 0
    with busy_producers(queue, None) as told:
        for turn in range(4):
            kill_some(stage, 1, random.Random(turn))
            fullest = max(fullest, queue.limits()[0].now)
    assert told["full"] > 0
    assert fullest <= 30 + PRODUCERS + WORKERS * PLACES * 2
    stage.wait_all("succeeded", timeout=120)
    assert stage.value("SELECT count(*) FROM pgjobq.job") == told["new"]
    for worker in stage.workers:
        worker.destroy()
    keyed = queue.registry.get("keyed")
    with psycopg.connect(stage.dsn) as conn:
        for n in range(30):
            keyed.using(conn=conn).enqueue(f"key {n}")
        with pytest.raises(QueueFull):
            keyed.using(conn=conn).enqueue("one more")
