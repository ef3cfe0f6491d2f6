"""Running jobs: handlers of both kinds, their arguments, their contexts, their number."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID, uuid4

import pytest

from pgjobq import NotInJob, Queue, Retry, current_job
from worker.stage import Stage, run_drained

Seen = list[Any]


class Colour(Enum):
    RED = "red"


@dataclass
class Line:
    sku: str
    count: int


def test_both_kinds_of_handler_run_and_their_results_are_stored(queue: Queue) -> None:
    """Coroutine functions and plain ones run, and what they return is kept with the job."""

    @queue.task
    async def add(a: int, b: int) -> int:
        return a + b

    @queue.task
    def join(words: list[str]) -> dict[str, str]:
        return {"joined": " ".join(words)}

    @queue.task
    def nothing() -> None:
        pass

    jobs = [add.enqueue(a=1, b=2), join.enqueue(words=["a", "b"]), nothing.enqueue()]
    run_drained(queue)
    rows = [queue.get(job.id) for job in jobs]
    assert [row and (row.state, row.attempt, row.result) for row in rows] == [
        ("succeeded", 1, 3),
        ("succeeded", 1, {"joined": "a b"}),
        ("succeeded", 1, None),
    ]


@pytest.mark.parametrize("kind", ["async", "plain"])
def test_arguments_arrive_with_their_types(queue: Queue, kind: str) -> None:
    """What is annotated as a date, UUID, Decimal, Enum or dataclass arrives as one."""
    seen: Seen = []

    def take(when: datetime, key: UUID, price: Decimal, hue: Colour, lines: list[Line], more: int = 7) -> None:
        seen.append((when, key, price, hue, lines, more))

    async def atake(when: datetime, key: UUID, price: Decimal, hue: Colour, lines: list[Line], more: int = 7) -> None:
        seen.append((when, key, price, hue, lines, more))

    task: Any = queue.task(atake if kind == "async" else take)
    given = (datetime(2026, 3, 1, 12, tzinfo=UTC), uuid4(), Decimal("9.90"), Colour.RED, [Line("x", 2)])
    task.enqueue(*given)
    run_drained(queue)
    assert seen == [(*given, 7)]


@pytest.mark.parametrize("kind", ["async", "plain"])
def test_the_current_job_tells_all_about_itself(queue: Queue, kind: str) -> None:
    """current_job() gives id, task, queue, attempt, budget, ref, tags, headers and time, in both kinds of handler."""
    seen: Seen = []

    def look() -> None:
        job = current_job()
        seen.append((job.id, job.task, job.queue, job.attempt, job.max_attempts, job.ref, job.tags, job.headers))
        seen.append(job.enqueued_at)
        seen.append(job.cancelled)

    async def alook() -> None:
        look()

    task: Any = queue.task(name="look", tags=["always"])(alook if kind == "async" else look)
    before = datetime.now(UTC)
    made = task.using(queue="mail", ref="order:7", tags=["now"], headers={"trace": "t1"}).enqueue()
    run_drained(queue)
    facts, enqueued_at, cancelled = seen
    assert facts[:6] == (made.id, "look", "mail", 1, 20, "order:7")
    assert set(facts[6]) == {"always", "now"}
    assert facts[7] == {"trace": "t1"}
    assert abs((enqueued_at - before).total_seconds()) < 60
    assert cancelled is False
    with pytest.raises(NotInJob):
        current_job()


@pytest.mark.parametrize("kind", ["async", "plain"])
def test_context_variables_never_reach_the_next_job(queue: Queue, kind: str) -> None:
    """What a handler sets in its context is gone for the next job of the same slot or thread."""
    colour: ContextVar[str] = ContextVar("colour", default="none")
    seen: Seen = []

    def paint() -> None:
        seen.append((colour.get(), current_job().id))
        colour.set("red")

    async def apaint() -> None:
        paint()
        await asyncio.sleep(0)
        seen.append((colour.get() == "red" and "none", current_job().id))

    task: Any = queue.task(name="paint")(apaint if kind == "async" else paint)
    jobs = [task.enqueue().id for _ in range(30)]
    run_drained(queue, concurrency=2)
    assert {what for what, _ in seen} == {"none"}
    assert {job for _, job in seen} == set(jobs)


def test_plain_handlers_run_in_parallel(queue: Queue) -> None:
    """Two plain handlers are inside at the same time: each waits for the other."""
    both = threading.Barrier(2, timeout=30)

    @queue.task
    def meet() -> int:
        both.wait()
        return threading.get_ident()

    jobs = [meet.enqueue().id for _ in range(2)]
    run_drained(queue, concurrency=2)
    rows = [queue.get(job) for job in jobs]
    assert [row and row.state for row in rows] == ["succeeded"] * 2
    assert len({row.result for row in rows if row}) == 2


def test_a_plain_handler_does_not_hold_up_async_ones(queue: Queue) -> None:
    """While a plain handler blocks its thread, coroutine handlers go on; here it waits for one."""
    done = threading.Event()

    @queue.task
    def wait() -> bool:
        return done.wait(30)

    @queue.task
    async def let_go() -> None:
        done.set()

    first = wait.enqueue().id
    let_go.enqueue()
    run_drained(queue, concurrency=2)
    job = queue.get(first)
    assert job is not None
    assert job.result is True


class Inside:
    """Counts who is inside, and the most there ever were."""

    def __init__(self) -> None:
        self.now = self.peak = self.all = 0
        self._lock = threading.Lock()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            self.now += 1
            self.all += 1
            self.peak = max(self.peak, self.now)
        yield
        with self._lock:
            self.now -= 1


@pytest.mark.parametrize("kinds", ["async", "plain", "mixed"])
def test_concurrency_is_kept_exactly(queue: Queue, kinds: str) -> None:
    """Never more than `concurrency` handlers are inside at once, of both kinds together, and that many are."""
    inside = Inside()

    @queue.task
    async def soft() -> None:
        with inside():
            await asyncio.sleep(0.004)

    @queue.task
    def hard() -> None:
        with inside():
            time.sleep(0.004)

    tasks: list[Any] = {"async": [soft], "plain": [hard], "mixed": [soft, hard]}[kinds]
    queue.enqueue_many([tasks[number % len(tasks)].call() for number in range(300)])
    run_drained(queue, concurrency=7)
    assert inside.all == 300
    assert inside.now == 0
    assert inside.peak == 7


def test_priorities_go_first_and_equals_in_order(queue: Queue) -> None:
    """Lower priority numbers start first, equal ones in the order of their enqueuing."""
    seen: Seen = []

    @queue.task
    async def note(number: int) -> None:
        seen.append(number)

    order = [(number, priority) for number, priority in enumerate([5, 0, -9, 0, 9, -9, 5])]
    for number, priority in order:
        note.using(priority=priority).enqueue(number=number)
    run_drained(queue, concurrency=1)
    assert seen == [number for number, _ in sorted(order, key=lambda pair: (pair[1], pair[0]))]


def test_only_the_named_queues_are_worked(queue: Queue) -> None:
    """A worker for one queue leaves the others alone."""

    @queue.task
    async def note() -> None:
        pass

    mail, other = note.using(queue="mail").enqueue(), note.using(queue="other").enqueue()
    run_drained(queue, queues=("mail",))
    states = [job and job.state for job in (queue.get(mail.id), queue.get(other.id))]
    assert states == ["succeeded", "ready"]


@pytest.mark.parametrize("kind", ["async", "plain"])
def test_a_result_that_cannot_be_stored_is_a_failed_attempt(queue: Queue, stage: Stage, kind: str) -> None:
    """Nobody should believe it was kept: the attempt fails with a sentence, at the last the job; neighbours succeed."""
    values: dict[str, Any] = {"object": object(), "nul": "a\0b", "large": "x" * 2_000_000, "set": {1}, "fine": [1]}

    def plain(which: str) -> Any:
        return values[which]

    async def handler(which: str) -> Any:
        return values[which]

    task: Any = queue.task(name="give", retry=Retry(max_attempts=2, wait=0))(handler if kind == "async" else plain)
    jobs = {which: task.enqueue(which=which).id for which in values}
    run_drained(queue)
    for which in ("set", "fine"):
        assert stage.job(jobs.pop(which))["result"] == [1]
    for job in jobs.values():
        assert (stage.job(job)["state"], stage.job(job)["attempt"]) == ("failed", 2)
        assert "cannot be kept as the job's result" in stage.job(job)["reason"]
        assert [error["kind"] for error in stage.errors(job)] == ["pgjobq.errors.UnstorableResult"] * 2


def test_a_full_board_goes_on_when_its_outcomes_are_settled(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for room on the board starts as soon as there is some. It waited for the next chore: of a backlog that
    went by in a second, one worker in five stood still for one or two."""
    monkeypatch.setattr("pgjobq.worker.UNSETTLED", 0)
    monkeypatch.setattr("pgjobq.engine.pump.CHORES_EVERY", 3600.0)
    monkeypatch.setattr("pgjobq.engine.floor.STALE", 3600.0)
    done: Seen = []

    @queue.task
    async def short(number: int) -> None:
        done.append(number)

    queue.enqueue_many(short.call(number=number) for number in range(500))
    run_drained(queue, concurrency=4, lease=3600.0)
    assert sorted(done) == list(range(500))


def test_a_busy_worker_learns_of_a_lane_that_is_new(queue: Queue) -> None:
    """The list of lanes comes along with claims: what is more urgent does not wait until the worker runs dry."""
    done: Seen = []
    sent = asyncio.Event()

    @queue.task(queue="urgent", priority=-5)
    async def urgent() -> None:
        done.append("urgent")

    @queue.task
    async def plain(number: int) -> None:
        if number == 0:
            await urgent.aenqueue()
            sent.set()
        await sent.wait()  # a connection is opened first: by then the others might be over
        await asyncio.sleep(0.002)
        done.append(number)

    queue.enqueue_many(plain.call(number=number) for number in range(3_000))
    run_drained(queue, concurrency=10)
    assert len(done) == 3_001
    assert done.index("urgent") < 2_900
