"""In which order jobs start: by priority, then by age; and who gets a turn while others keep coming."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

import pytest

from pgjobq import Queue, Retry, Snooze, current_job
from worker.stage import embedded, run_drained, wait_until

Started = list[str]


@pytest.fixture
def started() -> Started:
    return []


@pytest.fixture
def note(queue: Queue, started: Started) -> Callable[..., None]:
    @queue.task
    async def note(name: str) -> None:
        started.append(name)

    return note


def test_lower_numbers_start_first_and_of_one_priority_the_older(queue: Queue, note: object, started: Started) -> None:
    names = {}
    for number, priority in enumerate([0, 9, -9, 3, 0, -9, -1, 9]):
        names[f"{priority}:{number}"] = (priority, number)
        queue.enqueue("note", {"name": f"{priority}:{number}"}) if priority == 0 else note.using(  # type: ignore[attr-defined]
            priority=priority
        ).enqueue(f"{priority}:{number}")
    run_drained(queue, concurrency=1)
    assert started == sorted(names, key=names.__getitem__)


def test_one_that_is_tried_again_goes_to_the_back_of_its_priority(queue: Queue, started: Started) -> None:
    @queue.task(retry=Retry(max_attempts=3, wait=0))
    async def twice(name: str) -> None:
        started.append(name)
        if current_job().attempt == 1:
            raise Snooze(seconds=0) if name == "b" else OSError("once")

    for name in "abc":
        twice.enqueue(name)
    twice.using(priority=1).enqueue("last")
    run_drained(queue, concurrency=1)
    assert started[:3] == ["a", "b", "c"]
    assert sorted(started[3:]) == ["a", "b", "c", "last", "last"], "`last` may have been claimed along with them"


@pytest.mark.parametrize("concurrency", [1, 10])
def test_a_full_queue_keeps_no_other_queue_of_its_priority_waiting(queue: Queue, concurrency: int) -> None:
    """However many it has, and whichever comes first in the alphabet."""
    order: Started = []

    @queue.task
    async def work(name: str) -> None:
        order.append(name)

    queue.enqueue_many([work.using(queue="aaa").call("aaa")] * 3000)
    queue.enqueue_many([work.using(queue=name).call(name) for name in ("bbb", "ccc")])
    run_drained(queue, concurrency=concurrency)
    assert max(order.index("bbb"), order.index("ccc")) < 2100, "the third claim at the latest"


def flooded(queue: Queue, most: float) -> bool:
    """Whether a job of priority 3 starts while each urgent one that runs brings another one, so many in all."""
    over, low, count, in_time = threading.Event(), threading.Event(), itertools.count(1), []

    @queue.task(priority=-2)
    async def urgent() -> None:
        if over.is_set():
            return
        await urgent.aenqueue()
        if low.is_set() or next(count) >= most:
            in_time.append(low.is_set())
            over.set()

    @queue.task(priority=3)
    async def report() -> None:
        low.set()

    queue.enqueue_many([urgent.call()] * 1000)
    report.enqueue()
    with embedded(queue, concurrency=2, poll_interval=0.5):
        wait_until(lambda: low.is_set() and over.is_set())
    return in_time[0]


def test_under_a_flood_a_job_starts_when_its_queue_ages(queue: Queue) -> None:
    queue.set_ageing("default", step=1)
    assert flooded(queue, float("inf"))


def test_and_else_it_waits(queue: Queue) -> None:
    assert not flooded(queue, 4000)
