"""A job that comes to several sleeping processes wakes as many as there are jobs, and at least one that can look."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from statistics import median

import psycopg
import pytest

from worker.stage import Running, Stage, wait_until

PROCESSES = 8
PLACES = 5
FAR = ("--poll-interval", "600")
"""Who is not called sleeps for so long that the test would not see it wake."""
SOON = 20.0
"""Seconds: generous to a busy machine, and far below the poll interval."""
SWITCHBOARDS = """SELECT count(*) FROM pg_stat_activity
                  WHERE datname = current_database() AND application_name LIKE 'pgjobq switchboard%'"""
QUIET = 0.5
"""Seconds without a look by anybody."""


def sleeping(stage: Stage, processes: int, *flags: str, places: int = PLACES) -> Running:
    """A worker whose processes have all looked and now sleep long."""
    worker = stage.worker(
        *FAR, "--processes", str(processes), "--concurrency", str(places), *flags, app="apps.looking:queue"
    ).ready()

    def all_sleep() -> bool:
        looks = stage.marks("look")
        last = max((mark["at"] for mark in looks), default=0.0)
        return len({mark["pid"] for mark in looks}) == processes and time.monotonic() - last > QUIET

    wait_until(all_sleep)
    return worker


def who_looked(stage: Stage, since: float) -> set[int]:
    return {mark["pid"] for mark in stage.marks("look") if mark["at"] >= since}


def run_one(stage: Stage, task: str = "note") -> tuple[int, float]:
    """Which process ran a job, and how many seconds after it was asked for."""
    asked = time.monotonic()
    mark = stage.wait_marks("start", 1, stage.enqueue(task))[0]
    return mark["pid"], mark["at"] - asked


def in_turn(stage: Stage, processes: int) -> list[int]:
    """All of them, the one whose turn it is first. If one is slow to answer another takes its turn: then once more."""
    turns: list[int] = []
    while len(set(turns[-processes:])) < processes:
        assert len(turns) < 10 * processes, turns
        turns.append(run_one(stage)[0])
        stage.wait_all("succeeded")
    return turns[-processes:]


def test_one_job_wakes_one_process(stage: Stage) -> None:
    """Of eight that sleep one looks, each in its turn; no more than one session listens for them."""
    sleeping(stage, PROCESSES)
    ran, looked, took = [], [], []
    for _ in range(2 * PROCESSES):
        began = time.monotonic()
        pid, seconds = run_one(stage)
        stage.wait_all("succeeded")
        ran.append(pid)
        took.append(seconds)
        looked.append(len(who_looked(stage, began)))
    print(f"looked: {looked}; from enqueue to start (ms): {[round(1000 * seconds) for seconds in sorted(took)]}")
    # Whoever has not looked within 50 ms, on a machine that is very busy, has another one rung; never all.
    assert median(looked) == 1
    assert max(looked) < PROCESSES
    assert max(took) < SOON
    assert len(set(ran)) >= PROCESSES - 2, "they take turns"
    assert max(Counter(ran).values()) <= 5
    assert stage.value(SWITCHBOARDS) == 1


def test_a_burst_wakes_as_many_as_it_fills(stage: Stage) -> None:
    """Twelve jobs for processes with room for five: three run them, and one more finds that there is nothing left.
    (On a machine that is very busy others are rung for those that do not look at once; never all.)"""
    sleeping(stage, PROCESSES)
    began = time.monotonic()
    stage.enqueue_many("hold", 2 * PLACES + 2)
    marks = stage.wait_marks("start", 2 * PLACES + 2, timeout=SOON)
    ran, looked = len({mark["pid"] for mark in marks}), len(who_looked(stage, began))
    print("ran:", ran, "looked:", looked)
    assert 3 <= ran <= looked < PROCESSES
    # The rest, all at once: every place of every process is taken.
    stage.enqueue_many("hold", PROCESSES * PLACES - len(marks))
    marks = stage.wait_marks("start", PROCESSES * PLACES, timeout=SOON)
    print("all started after (ms):", round(1000 * (marks[-1]["at"] - began)))
    assert set(Counter(mark["pid"] for mark in marks).values()) == {PLACES}
    # Nobody has room now. A job that comes is run by whoever has room first, though nobody could be called for it.
    job = stage.enqueue("note")
    stage.open_gate()
    stage.wait_state(job, "succeeded", timeout=SOON)
    stage.wait_all("succeeded", timeout=SOON)


@pytest.mark.parametrize("killed", [False, True], ids=["stopped", "killed"])
def test_another_one_looks_for_one_that_cannot(stage: Stage, killed: bool) -> None:
    """Whoever is called is stopped (SIGSTOP), or dies with the call."""
    sleeping(stage, 3)
    turns = in_turn(stage, 3)
    os.kill(turns[0], signal.SIGSTOP)
    began = time.monotonic()
    job = stage.enqueue("note")
    if killed:
        os.kill(turns[0], signal.SIGKILL)
    mark = stage.wait_marks("start", 1, job, timeout=SOON)[0]
    print("started after (ms):", round(1000 * (mark["at"] - began)))
    assert mark["pid"] in turns[1:]


def test_another_one_looks_for_one_whose_loop_stands_still(stage: Stage) -> None:
    """A handler holds it up, while its process has places left and says that it sleeps."""
    sleeping(stage, 3)
    turns = in_turn(stage, 3)
    # Each has one now, and it is the first one's turn again.
    blocked, *others = [run_one(stage, task)[0] for task in ("block_later", "hold", "hold")]
    print("in turn:", turns == [blocked, *others])
    stage.wait_marks("blocks")
    pid, seconds = run_one(stage)
    print("started after (ms):", round(1000 * seconds))
    assert pid != blocked
    assert seconds < SOON


@pytest.mark.timeout(300)
def test_no_call_is_lost_whatever_happens_to_those_who_take_it(stage: Stage) -> None:
    """Processes are killed and stopped, connections are cut, the switchboard's among them: somebody looks all the same,
    long before the next poll. (Whoever is stopped with a job in hand keeps it until its lease is over.)"""
    chance = random.Random(7)
    worker = sleeping(stage, 4, "--lease", "8", "--heartbeat", "1")
    sessions = """SELECT pid FROM pg_stat_activity
                  WHERE datname = current_database() AND application_name ~ '^pgjobq (worker|switchboard)'"""
    waits, unheard = [], []

    def at_work() -> list[int]:
        """Whoever has been there for long enough to be called; one of them is not the next victim."""
        pids = {mark["pid"] for mark in stage.marks("look")}
        return [pid for pid in worker.children() if pid in pids]

    with psycopg.connect(stage.dsn, autocommit=True) as conn:
        for number in range(40):
            wait_until(lambda: len(at_work()) >= 3)
            children = at_work()
            match number % 4:
                case 0:
                    os.kill(chance.choice(children), signal.SIGKILL)
                case 1:
                    os.kill(chance.choice(children), signal.SIGSTOP)
                case 2:
                    found = [pid for (pid,) in conn.execute(sessions)]
                    conn.execute("SELECT pg_terminate_backend(%s)", (chance.choice(found),))
            asked = time.monotonic()
            job = stage.enqueue_on(conn, "note")
            waits.append(stage.wait_marks("start", 1, job, timeout=SOON)[0]["at"] - asked)
            unheard.append(min(mark["at"] for mark in stage.marks("look") if mark["at"] > asked) - asked)
            for pid in worker.children():
                os.kill(pid, signal.SIGCONT)
            time.sleep(chance.random() / 10)
    for what, seconds in (("to the first look", unheard), ("to the start", waits)):
        print(f"from enqueue {what} (ms):", [round(1000 * wait) for wait in sorted(seconds)])
    assert max(unheard) < SOON
    stage.wait_all("succeeded", timeout=SOON)


def test_who_only_polls_has_no_switchboard(stage: Stage) -> None:
    worker = stage.worker("--poll-only", "--processes", "2", "--poll-interval", "0.3").ready()
    stage.wait_state(stage.enqueue("note"), "succeeded")
    assert stage.value(SWITCHBOARDS) == 0
    assert worker.stop() == 0
