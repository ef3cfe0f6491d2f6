"""Schedules with real workers: each tick exactly once, at its time, whoever dies."""

from __future__ import annotations

import json
import signal
import time

import pytest

from worker.stage import Stage

APP = "apps.clock:queue"
TICKS = """SELECT extract(epoch FROM (headers ->> 'scheduled_for')::timestamptz)::bigint FROM pgjobq.job
           WHERE headers ->> 'schedule' = 'beat' ORDER BY 1"""


def ticks(stage: Stage) -> list[int]:
    """The ticks that made a job."""
    return [tick for (tick,) in stage.query(TICKS)]


@pytest.mark.parametrize("kill", [False, True])
def test_each_tick_exactly_once_with_three_workers(stage: Stage, kill: bool) -> None:
    workers = [stage.worker("--lease", "3", "--heartbeat", "1", app=APP) for _ in range(3)]
    for worker in workers:
        worker.ready()
    stage.wait_marks("beat", 3)
    if kill:
        workers[0].send_group(signal.SIGKILL)
    stage.wait_marks("beat", 9)
    for worker in workers[kill:]:
        assert worker.stop() == 0
    made = ticks(stage)
    assert made == list(range(made[0], made[0] + len(made))), "none left out, none twice"
    assert len(made) >= 9
    late = sorted(mark["wall"] - mark["tick"] for mark in stage.marks("beat"))
    print(f"beats were late by (ms): {[round(x * 1000) for x in late]}")
    assert late[0] > -0.02
    assert late[len(late) // 2] < 0.5


def test_a_sleeping_worker_is_woken_for_an_earlier_schedule(stage: Stage) -> None:
    """Upkeep sleeps for a second at a time. It looks at .4 and is told of the schedule at .7: without the call the tick
    at .0 would be 400 ms late."""
    stage.worker("--poll-interval", "60", app="apps.clock:queue").ready()
    stage.query("SELECT pgjobq.pause_schedule('beat')")
    for number in range(6):
        ahead = (0.4 - time.time()) % 1
        stage.wait_marks("note", 1, stage.enqueue("note", delay=ahead))
        time.sleep((0.7 - time.time()) % 1)
        definition = json.dumps({"expression": "@every 1s", "task": "other"})
        stage.query("SELECT pgjobq.put_schedule(%s, %s::jsonb)", f"s{number}", definition)
        eventually_first(stage, f"s{number}")
        stage.query("SELECT pgjobq.pause_schedule(%s)", f"s{number}")
    firsts: dict[str, float] = {}
    for mark in stage.marks("other"):
        firsts.setdefault(mark["schedule"], mark["wall"] - mark["tick"])
    late = sorted(firsts.values())
    print(f"first ticks were late by (ms): {[round(x * 1000) for x in late]}")
    assert len(late) == 6
    assert late[2] < 0.25


def eventually_first(stage: Stage, name: str) -> None:
    """Until that schedule's first job has run."""
    deadline = time.monotonic() + 30
    while not any(mark["schedule"] == name for mark in stage.marks("other")):
        assert time.monotonic() < deadline, name
        time.sleep(0.02)


def test_a_drain_fires_nothing(stage: Stage) -> None:
    """It works off what there is; how much that is does not depend on the clock."""
    stage.drain(app=APP)
    time.sleep(1.1)
    job = stage.enqueue("unknown")
    assert stage.drain(app=APP).wait() == 0
    assert ticks(stage) == []
    assert stage.state(job) == "blocked"
    assert stage.value("SELECT app FROM pgjobq.schedules WHERE name = 'beat'") == APP
