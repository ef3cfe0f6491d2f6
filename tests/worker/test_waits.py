"""Handlers that sleep or wait for an event, without holding a worker."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from pgjobq import EventTimeout, Gate, InvalidOption, Keyring, Queue, Retry, WaitTimeout, current_job
from worker.stage import Stage, embedded, run_drained, wait_until

ONCE = Retry(max_attempts=1)


@dataclasses.dataclass
class Payment:
    amount: Decimal


def define(queue: Queue, kind: str, event: str = "paid", **options: Any) -> Any:
    """A task that charges, waits for an event, and gives what came."""
    calls: list[str] = []

    def plain() -> Any:
        job = current_job()
        job.step("charge", calls.append, "charge")
        return job.wait_for(event, **options)

    async def handler() -> Any:
        job = current_job()
        await job.astep("charge", calls.append, "charge")
        return await job.await_for(event, **options)

    task: Any = queue.task(name="buy", retry=ONCE)(handler if kind == "async" else plain)
    return task, calls


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_a_wait_holds_no_worker_and_an_event_ends_it(queue: Queue, stage: Stage, kind: str) -> None:
    """Its place is free for others, no attempt is spent, and it goes on within milliseconds of the commit."""
    task, calls = define(queue, kind, timeout=3600)
    job = task.enqueue().id
    with embedded(queue, concurrency=1):
        stage.wait_state(job, "blocked")
        assert stage.job(job)["reason"] == "waits for event:paid"
        assert stage.job(job)["run_at"] is not None
        assert queue.explain(job).sentences[0].startswith("It waits for the event 'paid' until 20")  # type: ignore[union-attr]
        began = time.monotonic()
        assert queue.emit("paid", {"amount": 3})
        row = stage.wait_state(job, "succeeded")
        took = time.monotonic() - began
    assert (row["attempt"], row["result"], calls) == (2, {"amount": 3}, ["charge"])
    assert took < 5
    (wait,) = [step for step in queue.steps(job) if step.kind == "wait"]
    assert (wait.event, wait.value, wait.timed_out) == ("paid", {"amount": 3}, False)


def test_an_event_that_came_before_is_given_at_once(queue: Queue, stage: Stage) -> None:
    """In the first attempt, whoever emitted it: Python, SQL, or a handler; and only the first one of a name counts."""
    assert queue.emit("paid", 1)
    assert stage.value("SELECT pgjobq.emit('shipped', '{\"by\": \"air\"}')") is True

    @queue.task(retry=ONCE)
    def buy() -> Any:
        job = current_job()
        return [job.wait_for("paid"), job.wait_for("shipped")]

    job = buy.enqueue().id
    run_drained(queue)
    assert stage.job(job)["result"] == [1, {"by": "air"}]
    assert stage.job(job)["attempt"] == 1
    assert not queue.emit("paid", 2), "it has happened"
    other = buy.enqueue().id
    run_drained(queue)
    assert stage.job(other)["result"] == [1, {"by": "air"}]


def test_of_two_emitted_at_once_one_stands_for_everybody(queue: Queue, stage: Stage) -> None:
    """Neither waits for the other; whichever is met first is what every job is given, now and later."""
    task, _ = define(queue, "plain")
    with psycopg.connect(stage.dsn) as first, psycopg.connect(stage.dsn) as second:
        assert queue.emit("paid", "first", conn=first)
        assert queue.emit("paid", "second", conn=second)
        second.commit()
        one = task.enqueue().id
        run_drained(queue)
        first.commit()
    two = task.enqueue().id
    run_drained(queue)
    assert [stage.job(job)["result"] for job in (one, two)] == ["second", "second"]
    assert stage.query("SELECT name FROM pgjobq.event") == [("paid",)]


def test_what_is_rolled_back_was_not_emitted(queue: Queue, stage: Stage) -> None:
    task, _ = define(queue, "plain", timeout=0.2, default="late")
    with psycopg.connect(stage.dsn) as conn:
        queue.emit("paid", 1, conn=conn)
        conn.rollback()
    job = task.enqueue().id
    with embedded(queue):
        assert stage.wait_state(job, "succeeded")["result"] == "late"


def test_one_event_wakes_all_that_wait_for_it(queue: Queue, stage: Stage) -> None:
    task, _ = define(queue, "async")
    for _ in range(50):
        task.enqueue()
    with embedded(queue):
        wait_until(lambda: stage.states() == {"blocked": 50})
        queue.emit("paid", 7)
        stage.wait_all("succeeded")
    assert stage.query("SELECT DISTINCT attempt FROM pgjobq.finished") == [(2,)]


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_an_event_that_does_not_come(queue: Queue, stage: Stage, kind: str) -> None:
    """EventTimeout, or the default; that is remembered, whatever comes later."""
    seen: list[str] = []

    def note(error: BaseException) -> None:
        seen.append(type(error).__name__)
        assert isinstance(error, TimeoutError)

    def plain() -> Any:
        job = current_job()
        try:
            job.wait_for("paid", timedelta(seconds=0.3))
        except EventTimeout as error:
            note(error)
        queue.emit("paid", 1)
        if job.attempt == 2:
            raise ValueError("once more")
        return job.wait_for("shipped", 0, default="nothing")

    async def handler() -> Any:
        job = current_job()
        try:
            await job.await_for("paid", timedelta(seconds=0.3))
        except EventTimeout as error:
            note(error)
        await queue.aemit("paid", 1)
        if job.attempt == 2:
            raise ValueError("once more")
        return await job.await_for("shipped", 0, default="nothing")

    task: Any = queue.task(name="buy", retry=Retry(max_attempts=2, wait=0.0))(handler if kind == "async" else plain)
    job = task.enqueue().id
    with embedded(queue):
        row = stage.wait_state(job, "succeeded", "failed")
    assert (row["state"], row["result"], row["attempt"]) == ("succeeded", "nothing", 3)
    assert seen == ["EventTimeout", "EventTimeout"]
    assert issubclass(EventTimeout, WaitTimeout)
    assert [step.timed_out for step in queue.steps(job)] == [True, True]


def test_to_wait_anew_for_what_had_not_come(queue: Queue, stage: Stage) -> None:
    """The wait is forgotten by hand; then a retry waits again, with the steps before it done."""
    task, calls = define(queue, "plain", timeout=0.0)
    job = task.enqueue().id
    run_drained(queue)
    assert "queue.forget_steps" in stage.job(job)["reason"]
    assert queue.forget_steps(job, "paid") == 1
    queue.emit("paid", 5)
    assert queue.retry(job)
    run_drained(queue)
    assert (stage.job(job)["result"], calls) == (5, ["charge"])


def test_payloads_have_types(queue: Queue, stage: Stage) -> None:
    seen: list[Any] = []

    @queue.task(retry=ONCE)
    def buy() -> None:
        seen.append(current_job().wait_for("paid", returns=Payment))

    queue.emit("paid", Payment(Decimal("9.90")))
    buy.enqueue()
    run_drained(queue)
    assert seen == [Payment(Decimal("9.90"))]


def test_sealed_payloads(dsn: str, stage: Stage) -> None:
    """With a key ring of the queue no payload stands in the clear; one that SQL emitted does, and is read all the
    same."""
    with contextlib.closing(Queue(dsn, encryption=Keyring({"k": Keyring.generate()}))) as queue:

        @queue.task(retry=ONCE)
        def buy() -> Any:
            job = current_job()
            return [job.wait_for("paid"), job.wait_for("plain"), queue.steps(job.id, decrypt=True)[0].value]

        queue.emit("paid", "card 4111")
        stage.query("SELECT pgjobq.emit('plain', '1')")
        job = buy.enqueue().id
        run_drained(queue)
        assert "4111" not in str(stage.query("SELECT payload, value FROM pgjobq.event, pgjobq.step"))
        assert queue.result_of(queue.get(job)) == ["card 4111", 1, "card 4111"]  # type: ignore[arg-type]


NOTED = """
CREATE TABLE noted (job bigint, attempt int);
CREATE FUNCTION note_it() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN INSERT INTO public.noted VALUES (NEW.job, NEW.attempt); RETURN NEW; END $$;
CREATE TRIGGER note_it AFTER INSERT ON pgjobq.scheduled FOR EACH ROW EXECUTE FUNCTION note_it();
"""
"""Notes who was scheduled, however shortly."""


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_a_sleep(queue: Queue, stage: Stage, kind: str) -> None:
    """The job is scheduled meanwhile, no attempt is spent, and a failure later on does not sleep again."""
    calls: list[str] = []

    def plain() -> None:
        job = current_job()
        job.sleep(timedelta(seconds=0.5), "cool off")
        calls.append(f"awake {job.attempt}")
        job.sleep(0)
        if job.attempt == 2:
            raise ValueError("no")

    async def handler() -> None:
        job = current_job()
        await job.asleep(timedelta(seconds=0.5), "cool off")
        calls.append(f"awake {job.attempt}")
        await job.asleep(0)
        if job.attempt == 2:
            raise ValueError("no")

    retry = Retry(max_attempts=2, wait=0.0)
    task: Any = queue.task(name="nap", retry=retry)(handler if kind == "async" else plain)
    stage.query(NOTED)
    job = task.enqueue().id
    with embedded(queue):
        row = stage.wait_state(job, "succeeded", "failed")
    assert stage.query("SELECT * FROM noted LIMIT 1") == [(job, 1)]
    assert (row["state"], row["attempt"], calls) == ("succeeded", 3, ["awake 2", "awake 3"])
    assert [(step.name, step.kind) for step in queue.steps(job)] == [("cool off", "sleep"), ("sleep", "sleep")]
    assert queue.steps(job)[0].seconds >= 0.5  # type: ignore[operator]


def test_who_is_woken_too_early_goes_on_sleeping(queue: Queue, stage: Stage) -> None:
    """What decides is the memory of the sleep, not that there is an attempt."""

    @queue.task(retry=ONCE)
    def nap() -> None:
        current_job().sleep(3600)

    job = nap.enqueue().id
    with embedded(queue):
        stage.wait_state(job, "scheduled")
        due = stage.job(job)["run_at"]
        assert queue.edit(job, delay=0)
        wait_until(lambda: stage.job(job)["attempt"] == 2 and stage.state(job) == "scheduled")
    assert abs((stage.job(job)["run_at"] - due).total_seconds()) < 30


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_a_handler_that_swallows_it_waits_all_the_same(queue: Queue, stage: Stage, kind: str) -> None:
    """`except BaseException: pass` around a sleep must not make a success of it."""

    def plain() -> None:
        with contextlib.suppress(BaseException):
            current_job().sleep(3600)

    async def handler() -> None:
        with contextlib.suppress(BaseException):
            await current_job().asleep(3600)

    task: Any = queue.task(name="nap", retry=ONCE)(handler if kind == "async" else plain)
    job = task.enqueue().id
    with embedded(queue):
        stage.wait_state(job, "scheduled")


def test_finally_runs_and_middleware_sees_no_failure(queue: Queue, stage: Stage) -> None:
    seen: list[str] = []

    @queue.task(retry=ONCE)
    async def nap() -> None:
        try:
            await current_job().asleep(3600)
        except Exception:
            seen.append("an Exception")
        finally:
            seen.append("finally")

    job = nap.enqueue().id
    with embedded(queue):
        stage.wait_state(job, "scheduled")
    assert seen == ["finally"]
    assert stage.errors(job) == []


def test_cancelled_while_it_waits(queue: Queue, stage: Stage) -> None:
    """And the event that comes then changes nothing."""
    task, _ = define(queue, "plain", timeout=3600)
    job = task.enqueue().id
    with embedded(queue):
        stage.wait_state(job, "blocked")
        assert queue.cancel(job)
        queue.emit("paid")
        wait_until(lambda: stage.query("SELECT name FROM pgjobq.event"))
    assert stage.state(job) == "cancelled"
    assert queue.retry(job)
    run_drained(queue)
    assert stage.state(job) == "succeeded", "it goes on with the event that has come"


def test_who_waits_gives_its_place_at_a_gate_up(queue: Queue, stage: Stage) -> None:
    """The next one passes at once; afterwards it comes to the gate like any other."""
    order: list[str] = []

    @queue.task(retry=ONCE, gates=[Gate("api", concurrency=1)])
    def call(name: str) -> None:
        order.append(f"{name} begins")
        if name == "first":
            current_job().wait_for("paid")
        order.append(f"{name} ends")

    first, second = call.enqueue("first").id, call.enqueue("second").id
    with embedded(queue):
        stage.wait_state(second, "succeeded")
        assert stage.state(first) == "blocked"
        queue.emit("paid")
        stage.wait_state(first, "succeeded")
    assert order == ["first begins", "second begins", "second ends", "first begins", "first ends"]


def test_waits_beside_each_other(queue: Queue, stage: Stage) -> None:
    """gather() of two: whichever event comes first, both are there in the end."""

    @queue.task(retry=ONCE)
    async def buy() -> Any:
        job = current_job()
        return list(await asyncio.gather(job.await_for("paid"), job.await_for("packed")))

    for events in (("paid", "packed"), ("packed", "paid")):
        stage.query("DELETE FROM pgjobq.event")
        job = buy.enqueue().id
        with embedded(queue):
            stage.wait_state(job, "blocked")
            queue.emit(events[0], events[0])
            wait_until(lambda event=events[0], job=job: _has_come(queue, job, event))  # type: ignore[misc]
            queue.emit(events[1], events[1])
            assert stage.wait_state(job, "succeeded")["result"] == ["paid", "packed"]


@pytest.mark.parametrize("fails", [False, True])
def test_waits_in_a_task_group(queue: Queue, stage: Stage, fails: bool) -> None:
    """A TaskGroup wraps what left its tasks: the job waits all the same, unless one of them has failed."""

    async def fail() -> None:
        raise ValueError("no")

    @queue.task(retry=ONCE)
    async def buy() -> Any:
        job = current_job()
        async with asyncio.TaskGroup() as group:
            first, second = (group.create_task(job.await_for(event)) for event in ("paid", "packed"))
            if fails and job.attempt > 1:
                group.create_task(fail())
        return [first.result(), second.result()]

    job = buy.enqueue().id
    with embedded(queue):
        stage.wait_state(job, "blocked")
        queue.emit("paid", 1)
        if not fails:
            queue.emit("packed", 2)
            assert stage.wait_state(job, "succeeded")["result"] == [1, 2]
        else:
            stage.wait_state(job, "failed")


def _has_come(queue: Queue, job: int, event: str) -> bool:
    return any(step.event == event and step.ended_at is not None for step in queue.steps(job))


def test_emit_is_checked(queue: Queue) -> None:
    refused: list[tuple[Callable[[], Any], str]] = [
        (lambda: queue.emit(""), "1 to 255 characters"),
        (lambda: queue.emit("x" * 256), "1 to 255 characters"),
        (lambda: queue.emit("x", keep=0), "above 0"),
        (lambda: queue.emit("x", keep=timedelta(days=-1)), "above 0"),
    ]
    for way, why in refused:
        with pytest.raises(InvalidOption, match=why):
            way()
    with pytest.raises(
        Exception, match=r"emit\('x'\) was given a value of type object that cannot be kept as its payload"
    ):
        queue.emit("x", object())
