"""Gates with real workers, some of which are killed: what the handlers wrote down says whether limits were kept."""

from __future__ import annotations

import os
import random
import signal
import statistics
import time
from collections import defaultdict
from itertools import pairwise
from typing import Any

import psycopg
import pytest

from pgjobq import Gate, Queue
from worker.stage import Stage

queue = Queue()


@queue.task(gates=[Gate("merchant:{merchant}", concurrency=2), Gate("all", concurrency=5)])
def pay(merchant: int, fails: int = 0) -> None:
    """What the app of that name has; its module can be imported by workers only."""


@queue.task(gates=[Gate("account:{account}", order="fifo")])
def book(account: int, number: int, fails: int = 0) -> None:
    """Likewise."""


@queue.task(gates=[Gate("one", concurrency=1)])
def step() -> None:
    """Likewise."""


@queue.task
def free() -> None:
    """Likewise."""


APP = "apps.gated:queue"
QUICK = ("--heartbeat", "0.5", "--lease", "4", "--poll-interval", "0.2")
"""Deaths are soon found out, and yet nobody is taken for dead who stood still for 3 s."""


def most_at_once(marks: list[dict[str, Any]], deaths: dict[int, float]) -> dict[str, int]:
    """How many ran at once at most, by key and in all. What a killed process ran ended when it was killed."""
    changes: dict[str, list[tuple[float, int]]] = defaultdict(list)
    open_since: dict[tuple[int, int], dict[str, Any]] = {}
    for mark in marks:
        attempt = (mark["job"], mark["attempt"])
        if mark["what"] == "start":
            open_since[attempt] = mark
        elif begun := open_since.pop(attempt, None):
            for key in (mark["key"], "all"):
                changes[key] += [(begun["at"], 1), (mark["at"], -1)]
    for mark in open_since.values():
        for key in (mark["key"], "all"):
            changes[key] += [(mark["at"], 1), (max(mark["at"], deaths[mark["pid"]]), -1)]
    most = {}
    for key, of_key in changes.items():
        running, most[key] = 0, 0
        for _, change in sorted(of_key):
            running += change
            most[key] = max(most[key], running)
    return most


def kill_some(stage: Stage, times: int, rng: random.Random) -> dict[int, float]:
    """Kill worker processes one after the other, and whole workers, each of which is replaced."""
    deaths = {}
    for turn in range(times):
        time.sleep(rng.uniform(0.4, 0.8))
        victim = rng.choice(stage.workers[-3:])
        pids = victim.children()
        killed = time.monotonic()  # read after the kill it could be later than the start that found the place free
        if turn % 2:
            os.killpg(victim.pid, signal.SIGKILL)
            victim.popen.wait(30)
            stage.worker(*QUICK, app=APP)
        else:
            for pid in pids[:1]:
                os.kill(pid, signal.SIGKILL)
        deaths |= dict.fromkeys(pids, killed)
    return deaths


def test_no_limit_is_exceeded_and_all_jobs_end_though_workers_are_killed(stage: Stage) -> None:
    rng = random.Random(5)
    with psycopg.connect(stage.dsn) as conn:
        calls = [pay.call(merchant=n % 4, fails=int(n % 11 == 0)) for n in range(240)]
        queue.enqueue_many(calls, conn=conn)
    for _ in range(3):
        stage.worker(*QUICK, "--concurrency", "8", app=APP)
    deaths = kill_some(stage, 4, rng)
    stage.wait_all("succeeded")
    most = most_at_once(stage.marks(), deaths)
    assert most.pop("all") == 5, "never more, and the places are used"
    assert most == {f"merchant:{n}": 2 for n in range(4)}
    assert stage.value("SELECT count(*) FROM pgjobq.misplaced") == 0


def test_an_order_is_kept_though_jobs_fail_and_workers_are_killed(stage: Stage) -> None:
    rng = random.Random(7)
    calls = [book.call(account=n % 6, number=n, fails=int(n % 13 == 0)) for n in range(180)]
    with psycopg.connect(stage.dsn) as conn:
        queue.enqueue_many(calls, conn=conn)
    for _ in range(3):
        stage.worker(*QUICK, "--concurrency", "8", app=APP)
    deaths = kill_some(stage, 3, rng)
    stage.wait_all("succeeded")
    marks = stage.marks()
    assert set(most_at_once(marks, deaths).values()) >= {1}
    assert all(most == 1 for key, most in most_at_once(marks, deaths).items() if key != "all")
    by_key: dict[str, list[int]] = defaultdict(list)
    for mark in marks:
        if mark["what"] == "start":
            by_key[mark["key"]].append(mark["number"])
    for numbers in by_key.values():
        assert numbers == sorted(numbers), "an earlier one never starts after a later one"
        assert len(set(numbers)) == 30


@pytest.mark.parametrize("workers", [1, 2])
def test_a_place_that_became_free_is_used_at_once(stage: Stage, workers: int) -> None:
    with psycopg.connect(stage.dsn) as conn:
        queue.enqueue_many([step.call() for _ in range(40)], conn=conn)
    for _ in range(workers):
        stage.worker("--poll-interval", "5", app=APP)
    stage.wait_all("succeeded")
    marks = sorted(stage.marks(), key=lambda mark: mark["at"])
    assert [mark["what"] for mark in marks] == ["start", "end"] * 40
    gaps = [after["at"] - before["at"] for before, after in pairwise(marks) if before["what"] == "end"]
    print(f"gaps: median {statistics.median(gaps) * 1000:.1f} ms, longest {max(gaps) * 1000:.1f} ms")
    assert statistics.median(gaps) < 0.1, "no polling in between: 20 ms on a machine that does nothing else"


def test_a_job_enqueued_while_all_sleep_starts_without_polling(stage: Stage) -> None:
    worker = stage.worker("--poll-interval", "30", app=APP).ready()
    time.sleep(2.5)
    for turn in range(5):
        with psycopg.connect(stage.dsn) as conn:
            sent = time.monotonic()
            step.using(conn=conn).enqueue()
        marks = stage.wait_marks("end", turn + 1)
        assert marks[-1]["at"] - sent < 10, "a poll is up to 30 s away"
        time.sleep(0.1)
    assert worker.stop() == 0


def test_a_closed_gate_holds_up_nobody_else(stage: Stage) -> None:
    """Two hundred of higher priority wait at it; those without a gate run as if the others were not there."""
    stage.query("SELECT pgjobq.set_gate('one', 0)")
    with psycopg.connect(stage.dsn) as conn:
        held = queue.enqueue_many([step.using(priority=-9).call() for _ in range(200)], conn=conn)
        free_jobs = queue.enqueue_many([free.call() for _ in range(50)], conn=conn)
    worker = stage.worker("--concurrency", "2", app=APP)
    stage.wait_marks("start", 50)
    assert {mark["job"] for mark in stage.marks("start")} == set(free_jobs)
    stage.query("SELECT pgjobq.unset_gate('one')")
    stage.wait_all("succeeded")
    assert {mark["job"] for mark in stage.marks("start")} == {*free_jobs, *held}
    assert worker.stop() == 0


def test_a_drain_runs_all_that_waits_at_gates(stage: Stage) -> None:
    with psycopg.connect(stage.dsn) as conn:
        queue.enqueue_many([step.call() for _ in range(5)] + [free.call()], conn=conn)
    stage.drain(app=APP)
    assert stage.states() == {"succeeded": 6}
