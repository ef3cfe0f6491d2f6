"""Steps: what a handler has done once is not done again by a later attempt."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from pgjobq import (
    AttemptEnding,
    Chunk,
    ChunkJob,
    Gate,
    Keyring,
    LeaseLost,
    Queue,
    Retry,
    StepError,
    TaskError,
    UnstorableResult,
    current_job,
)
from worker.stage import Stage, embedded, run_drained, wait_until

AT_ONCE = Retry(wait=0.0)
STEAL = """
WITH thief AS (
    INSERT INTO pgjobq.worker (id, expires_at, pid, concurrency, host, app, version, queues, tasks)
    VALUES (gen_random_uuid(), now() + interval '1 hour', 1, 1, '', '', '', '{}', '{}') RETURNING id)
UPDATE pgjobq.running SET attempt = attempt + 1, worker = thief.id FROM thief WHERE job = %s"""
"""As a rescue and another worker's claim leave it."""


@dataclasses.dataclass
class Receipt:
    number: int
    paid: Decimal
    at: datetime


def receipt() -> Receipt:
    return Receipt(7, Decimal("12.50"), datetime(2026, 11, 29, tzinfo=UTC))


def run_to_the_end(queue: Queue, stage: Stage, handler: Callable[..., Any], **options: Any) -> dict[str, Any]:
    """Enqueue a job of this handler and drain; its row."""
    task: Any = queue.task(name="it", retry=options.pop("retry", AT_ONCE), **options)(handler)
    job = task.enqueue().id
    run_drained(queue)
    return stage.job(job)


def fail_first() -> None:
    if current_job().attempt == 1:
        raise ValueError("the first attempt fails here")


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_a_later_attempt_goes_on_behind_its_steps(queue: Queue, stage: Stage, kind: str) -> None:
    """What a step gave comes back, of the type that its function promises, without its being called."""
    calls: list[str] = []
    seen: list[Any] = []

    def charge(order: int, *, note: str) -> Receipt:
        calls.append(f"charge {order} {note}")
        return receipt()

    async def ship() -> None:
        calls.append("ship")

    def plain() -> None:
        job = current_job()
        seen.append(job.step("charge", charge, 42, note="x"))
        seen.append(job.step("nothing", lambda: None))
        fail_first()

    async def handler() -> None:
        job = current_job()
        seen.append(await job.astep("charge", charge, 42, note="x"))
        seen.append(await job.astep("nothing", ship))
        fail_first()

    row = run_to_the_end(queue, stage, handler if kind == "async" else plain)
    assert (row["state"], row["attempt"]) == ("succeeded", 2)
    assert calls == ["charge 42 x"] + (["ship"] if kind == "async" else [])
    assert seen == [receipt(), None] * 2
    steps = queue.steps(row["id"])
    assert [(step.name, step.kind, step.attempt) for step in steps] == [("charge", "step", 1), ("nothing", "step", 1)]
    assert steps[0].value == {"number": 7, "paid": "12.50", "at": "2026-11-29T00:00:00Z"}
    assert steps[0].seconds is not None
    assert steps[0].seconds < 60
    assert asyncio.run(_of_the_twin(queue, row["id"])) == steps


async def _of_the_twin(queue: Queue, job: int) -> Any:
    try:
        return await queue.asteps(job)
    finally:
        await queue.aclose()


def test_the_first_time_it_has_been_through_json_too(queue: Queue, stage: Stage) -> None:
    """Or a difference would show only in the second attempt, which few people ever test."""
    seen: list[Any] = []

    def tuples() -> Any:
        return {"pair": (1, 2)}

    def typed() -> dict[str, tuple[int, int]]:
        return {"pair": (1, 2)}

    def handler() -> None:
        job = current_job()
        seen.append(job.step("plain", tuples))
        seen.append(job.step("typed", typed))
        seen.append(job.using(returns=Receipt).step("said", lambda: receipt()))
        seen.append(job.step("partial", functools.partial(pow, 2), 5))
        seen.append(job.step("class", Receipt, 7, Decimal("12.50"), receipt().at))
        fail_first()

    assert run_to_the_end(queue, stage, handler)["state"] == "succeeded"
    assert seen == [{"pair": [1, 2]}, {"pair": (1, 2)}, receipt(), 32, receipt()] * 2


def test_what_raises_is_not_remembered(queue: Queue, stage: Stage) -> None:
    tries: list[int] = []

    def charge() -> str:
        tries.append(current_job().attempt)
        if len(tries) < 3:
            raise ConnectionError("the bank is away")
        return "paid"

    row = run_to_the_end(queue, stage, lambda: current_job().step("charge", charge))
    assert (row["state"], row["result"], tries) == ("succeeded", "paid", [1, 2, 3])


def test_a_name_is_used_once_in_an_attempt(queue: Queue, stage: Stage) -> None:
    """Else the second one would be given what the first one gave."""

    def handler() -> None:
        job = current_job()
        job.step("send", str)
        with pytest.raises(StepError, match=r"this attempt has had a step of that name.*f'send:"):
            job.step("send", str)
        with pytest.raises(StepError, match="1 to 255 characters"):
            job.step("x" * 256, str)
        with pytest.raises(StepError, match="1 to 255 characters"):
            job.step("nul\0", str)
        job.step("x" * 255, str)

    assert run_to_the_end(queue, stage, handler, retry=Retry(max_attempts=1))["state"] == "succeeded"


def test_a_name_stays_what_it_was(queue: Queue, stage: Stage) -> None:
    """A deploy that makes a sleep of a step is told, instead of being given the step's value."""

    def handler() -> None:
        job = current_job()
        if job.attempt == 1:
            job.step("pause", str)
            fail_first()
        job.sleep(1, "pause")

    row = run_to_the_end(queue, stage, handler, retry=Retry(max_attempts=2, wait=0.0))
    assert row["reason"] == (
        "pgjobq.errors.StepError: step 'pause': an earlier attempt has had a step of that name, and this is a sleep; "
        "give it another name"
    )


@pytest.mark.parametrize(
    ("value", "why"),
    [(object(), "has no form in JSON"), ("x" * 1_048_576, "1,048,578 bytes as JSON"), ("a\0b", "U\\+0000")],
    ids=["object", "large", "nul"],
)
def test_what_cannot_be_kept_is_refused(queue: Queue, stage: Stage, value: Any, why: str) -> None:
    def handler() -> None:
        with pytest.raises(UnstorableResult, match=rf"the step 'big' returned a value of type .* {why}"):
            current_job().step("big", lambda: value)

    row = run_to_the_end(queue, stage, handler, retry=Retry(max_attempts=1))
    assert row["state"] == "succeeded", row["reason"]
    assert queue.steps(row["id"]) == []


def test_a_type_that_cannot_come_from_json_is_refused_before_the_step(queue: Queue, stage: Stage) -> None:
    calls: list[int] = []

    def odd() -> threading.Lock:  # type: ignore[valid-type]
        calls.append(1)
        return threading.Lock()

    def wrong() -> int:
        calls.append(2)
        return "seven"  # type: ignore[return-value]

    def handler() -> None:
        job = current_job()
        with pytest.raises(StepError, match=r"cannot be read from JSON.*returns="):
            job.using(returns=complex | threading.Thread).step("odd", odd)
        assert calls == []
        with pytest.raises(StepError, match=r"does not fit.*is not done again"):
            job.step("wrong", wrong)

    row = run_to_the_end(queue, stage, handler, retry=Retry(max_attempts=1))
    assert row["state"] == "succeeded", row["reason"]
    assert [step.name for step in queue.steps(row["id"])] == ["wrong"], "it was done, and must not be done again"


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_a_stale_owner_takes_no_steps(queue: Queue, stage: Stage, kind: str) -> None:
    """What it does is refused, nothing is written, and its handler is told."""
    told: list[Any] = []

    def plain() -> None:
        job = current_job()
        job.step("first", str)
        stage.query(STEAL, job.id)
        ways: list[tuple[str, Callable[[], Any]]] = [
            ("step", lambda: job.step("second", str)),
            ("sleep", lambda: job.sleep(60)),
            ("wait", lambda: job.wait_for("never")),
            ("checkpoint", lambda: job.checkpoint(1)),
        ]
        for name, way in ways:
            with pytest.raises(LeaseLost, match="no longer holds it"):
                way()
            told.append(name)
        told.append(job.cancelled)

    async def handler() -> None:
        job = current_job()
        await job.astep("first", str)
        await asyncio.to_thread(stage.query, STEAL, job.id)
        ways: list[tuple[str, Callable[[], Any]]] = [
            ("step", lambda: job.astep("second", str)),
            ("sleep", lambda: job.asleep(60)),
            ("wait", lambda: job.await_for("never")),
            ("checkpoint", lambda: job.acheckpoint(1)),
        ]
        for name, way in ways:
            with pytest.raises(LeaseLost, match="no longer holds it"):
                await way()
            told.append(name)
        told.append(job.cancelled)

    task: Any = queue.task(name="it", retry=Retry(max_attempts=1))(handler if kind == "async" else plain)
    job = task.enqueue().id
    run_drained(queue)
    assert told == ["step", "sleep", "wait", "checkpoint", True]
    assert [step.name for step in queue.steps(job)] == ["first"]
    assert stage.query("SELECT * FROM pgjobq.checkpoint") == []
    assert stage.query("SELECT * FROM pgjobq.event_look") == []


def test_a_stale_owner_reads_nothing_of_what_a_later_attempt_has_left(queue: Queue, stage: Stage) -> None:
    """Its first step was taken by the other one meanwhile: it does not go on with what that one gave."""
    told: list[str] = []

    @queue.task(name="it", retry=Retry(max_attempts=1))
    def handler() -> None:
        job = current_job()
        stage.query(STEAL, job.id)
        stage.query(
            "SELECT pgjobq.remember_step(r.job, r.attempt, r.worker, 'first', '\"theirs\"', 0.1) FROM pgjobq.running r"
        )
        for way in (lambda: job.step("first", str), job.last_checkpoint):
            with pytest.raises(LeaseLost, match="no longer holds it"):
                way()
            told.append("refused")

    job = handler.enqueue().id
    run_drained(queue)
    assert told == ["refused", "refused"]
    assert [step.name for step in queue.steps(job)] == ["first"]


def test_a_stale_owner_reports_no_progress(queue: Queue, stage: Stage) -> None:
    """The report is not written; the handler hears of it at its next one."""
    told: list[type[BaseException]] = []

    def handler() -> None:
        job = current_job()
        job.progress(1, 10)
        wait_until(lambda: stage.query("SELECT job FROM pgjobq.progress"))
        stage.query(STEAL, job.id)
        job.progress(2, 10)
        wait_until(lambda: job.is_lost)
        for sign in (job.heartbeat, lambda: job.progress(3)):
            try:
                sign()
            except LeaseLost as error:
                told.append(type(error))

    task: Any = queue.task(name="it", retry=Retry(max_attempts=1))(handler)
    task.enqueue()
    run_drained(queue)
    assert told == [LeaseLost, LeaseLost]
    assert stage.query("SELECT done FROM pgjobq.progress") == [(1.0,)]


def test_what_a_step_has_written_commits_with_its_memory(queue: Queue, stage: Stage) -> None:
    """With using(conn=…): both or neither, so its effects are exactly once."""
    stage.query("CREATE TABLE effect (attempt int)")

    def book(conn: psycopg.Connection[Any]) -> int:
        conn.execute("INSERT INTO effect VALUES (%s)", (current_job().attempt,))
        return 1

    def handler() -> None:
        job = current_job()
        with psycopg.connect(stage.dsn) as conn:
            job.using(conn=conn).step("book", book, conn)
            if job.attempt == 1:
                assert stage.query("SELECT * FROM pgjobq.step") == [], "not before the commit"
                raise ValueError("rolled back, both")
        fail_second()

    def fail_second() -> None:
        if current_job().attempt == 2:
            raise ValueError("after the commit")

    row = run_to_the_end(queue, stage, handler)
    assert (row["state"], row["attempt"]) == ("succeeded", 3)
    assert stage.query("SELECT * FROM effect") == [(2,)]


def test_a_rescue_waits_for_a_step_that_is_being_committed(queue: Queue, stage: Stage) -> None:
    """While the transaction of a step is open, nobody takes the job away: afterwards there are both, or nobody was
    stale."""

    def handler() -> int:
        job = current_job()
        with psycopg.connect(stage.dsn) as conn:
            job.using(conn=conn).step("book", str)
            taken = stage.query(
                "WITH s AS (SELECT r.ctid FROM pgjobq.running r WHERE job = %s FOR UPDATE SKIP LOCKED) SELECT * FROM s",
                job.id,
            )
        return len(taken)

    assert run_to_the_end(queue, stage, handler)["result"] == 0


@pytest.mark.parametrize("gates", [[], [Gate("books", concurrency=5)]], ids=["plain", "gated"])
def test_a_transaction_left_open_holds_up_nobody_else(
    queue: Queue, stage: Stage, caplog: pytest.LogCaptureFixture, gates: list[Gate]
) -> None:
    """The job itself is settled when it ends; what ended beside it is settled at once."""
    kept: list[psycopg.Connection[Any]] = []

    @queue.task(retry=AT_ONCE, gates=gates)
    def leaky() -> None:
        conn = psycopg.connect(stage.dsn)
        kept.append(conn)
        current_job().using(conn=conn).step("book", str)

    @queue.task
    def plain() -> None:
        pass

    first = leaky.enqueue().id
    with embedded(queue):
        try:
            wait_until(lambda: kept)
            second = plain.enqueue().id
            stage.wait_state(second, "succeeded", timeout=20)
            assert stage.state(first) == "running"
            assert not [one for one in caplog.messages if "lost" in one], "nothing waited for it"
            kept[0].commit()
            stage.wait_state(first, "succeeded")
        finally:
            kept[0].close()


def test_many_at_once_in_one_handler(queue: Queue, stage: Stage) -> None:
    calls: list[int] = []

    async def send(number: int) -> int:
        calls.append(number)
        await asyncio.sleep(0)
        return number * 2

    async def handler() -> list[int]:
        job = current_job()
        found = await asyncio.gather(*(job.astep(f"send:{n}", send, n) for n in range(20)))
        fail_first()
        return list(found)

    row = run_to_the_end(queue, stage, handler)
    assert row["result"] == [n * 2 for n in range(20)]
    assert sorted(calls) == list(range(20))


def test_what_was_done_when_the_time_is_over_is_remembered(queue: Queue, stage: Stage) -> None:
    """The cancellation meets the handler while its step is being written down: that is brought to an end."""
    calls: list[int] = []

    async def charge() -> str:
        calls.append(1)
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        locker.execute("LOCK TABLE pgjobq.step")  # its memory cannot be written at once
        loop.call_later(0.3, task.cancel)
        loop.call_later(1.0, locker.rollback)
        return "paid"

    async def handler() -> Any:
        job = current_job()
        if job.attempt == 1:
            try:
                await job.astep("charge", charge)
            except asyncio.CancelledError as error:
                raise ValueError("its time is over") from error
        return await job.astep("charge", charge)

    with psycopg.connect(stage.dsn) as locker:
        row = run_to_the_end(queue, stage, handler)
    assert (row["result"], row["attempt"], calls) == ("paid", 2, [1])


def test_sealed(queue: Queue, stage: Stage) -> None:
    """What steps of an encrypted task give, and its checkpoint, stand in the database as its arguments do."""
    ring = Keyring({"k": Keyring.generate()})

    def handler() -> Any:
        job = current_job()
        job.step("secret", lambda: "card 4111")
        if job.attempt == 1:
            job.checkpoint({"card": "4111"})
        fail_first()
        return [job.last_checkpoint(), queue.steps(job.id, decrypt=True)[0].value]

    row = run_to_the_end(queue, stage, handler, encryption=ring)
    assert row["state"] == "succeeded", row["reason"]
    assert "4111" not in str(stage.query("SELECT value FROM pgjobq.step UNION ALL SELECT value FROM pgjobq.checkpoint"))
    assert "$enc" in queue.steps(row["id"])[0].value
    assert queue.steps(row["id"], decrypt=True)[0].value == "card 4111"
    with stage_moved(stage):
        with pytest.raises(Exception, match="does not open"):
            queue.steps(row["id"], decrypt=True)


def stage_moved(stage: Stage) -> Any:
    """A value under another name does not open."""
    import contextlib

    stage.query("UPDATE pgjobq.step SET name = 'other'")
    return contextlib.nullcontext()


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_checkpoints(queue: Queue, stage: Stage, kind: str) -> None:
    """The next attempt goes on from the last one."""
    seen: list[Any] = []

    def plain() -> None:
        job = current_job()
        start = job.last_checkpoint(0)
        seen.append(start)
        for number in range(start, start + 3):
            job.checkpoint(number + 1)
        if job.attempt < 3:
            raise ValueError("on")

    async def handler() -> None:
        job = current_job()
        start = await job.alast_checkpoint(0)
        seen.append(start)
        for number in range(start, start + 3):
            await job.acheckpoint(number + 1)
        if job.attempt < 3:
            raise ValueError("on")

    assert run_to_the_end(queue, stage, handler if kind == "async" else plain)["state"] == "succeeded"
    assert seen == [0, 3, 6]


def test_chunks(queue: Queue, stage: Stage) -> None:
    """Each job of a call has its own steps; none of them can leave the handler until later."""

    def handler(jobs: list[ChunkJob[dict[str, int]]]) -> None:
        for job in jobs:
            job.step("send", lambda: 1)
            with pytest.raises(TaskError, match=r"fail\(Snooze"):
                job.sleep(1)
            with pytest.raises(TaskError, match=r"fail\(Snooze"):
                job.wait_for("x")

    handler.__annotations__["jobs"] = list[ChunkJob[Item]]
    task: Any = queue.task(name="many", chunk=Chunk(size=3, wait=0.1))(handler)
    for number in range(3):
        task.enqueue(number=number)
    run_drained(queue)
    stage.wait_all("succeeded")
    assert stage.value("SELECT count(*) FROM pgjobq.step") == 3


@dataclasses.dataclass
class Item:
    number: int


def test_a_retry_by_hand_goes_on_or_begins_anew(queue: Queue, stage: Stage) -> None:
    calls: list[str] = []
    broken = [True]

    def handler() -> None:
        job = current_job()
        job.step("charge", calls.append, "charge")
        job.step("pack", calls.append, "pack")
        job.checkpoint(job.last_checkpoint(0) + 1)
        if broken[0]:
            raise ValueError("no")

    row = run_to_the_end(queue, stage, handler, retry=Retry(max_attempts=1))
    job = row["id"]
    assert queue.retry(job)
    run_drained(queue)
    assert calls == ["charge", "pack"]
    assert stage.value("SELECT value FROM pgjobq.checkpoint") == 2
    assert queue.forget_steps(job, "pack", by="eve") == 1
    assert queue.retry(job)
    run_drained(queue)
    assert calls == ["charge", "pack", "pack"]
    broken[0] = False
    assert queue.retry(job, forget_steps=True, by="eve")
    assert queue.steps(job) == []
    assert not queue.retry(job, forget_steps=True), "it is ready by now"
    run_drained(queue)
    assert calls[3:] == ["charge", "pack"]
    assert stage.value("SELECT value FROM pgjobq.checkpoint") == 1
    assert [(entry.what, entry.who) for entry in queue.audit() if entry.who == "eve"] == [
        ("forget_steps", "eve"), ("retry", "eve"), ("forget_steps", "eve")
    ]  # fmt: skip


def test_the_steps_go_with_their_job(queue: Queue, stage: Stage) -> None:
    """With retention and with purge; and the others stay."""

    def handler() -> None:
        job = current_job()
        job.step("a", str)
        job.checkpoint(1)
        job.progress(1)

    task: Any = queue.task(name="it")(handler)
    old, young, purged = (task.enqueue().id for _ in range(3))
    run_drained(queue)
    tables = ("step", "checkpoint", "progress")
    assert [stage.value(f"SELECT count(*) FROM pgjobq.{table}") for table in tables] == [3, 3, 3]
    assert queue.purge(ids=[purged]) == 1
    stage.query("UPDATE pgjobq.finished SET finished_at = now() - interval '30 days' WHERE job = %s", old)
    with embedded(queue):
        wait_until(lambda: queue.get(old) is None)
    for table in tables:
        assert stage.query(f"SELECT job FROM pgjobq.{table}") == [(young,)]


def test_a_heartbeat_ends_a_loop_that_was_cancelled(queue: Queue, stage: Stage) -> None:
    """In a plain function that catches everything, too, as far as an exception can."""
    began, told = threading.Event(), threading.Event()

    @queue.task
    async def loop() -> None:
        began.set()
        job = current_job()
        while True:
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                try:
                    job.heartbeat()
                except AttemptEnding:
                    told.set()
                raise

    job = loop.enqueue().id
    with embedded(queue):
        assert began.wait(30)
        queue.cancel_running(job)
        stage.wait_state(job, "cancelled")
    assert told.is_set()


def test_progress_is_checked(queue: Queue, stage: Stage) -> None:
    def handler() -> None:
        job = current_job()
        for wrong in (float("nan"), "3", True):
            with pytest.raises(StepError, match="finite numbers"):
                job.progress(wrong)  # type: ignore[arg-type]
        for span in (-1, "1", timedelta(days=-1)):
            with pytest.raises(StepError, match="seconds or a timedelta"):
                job.sleep(span)  # type: ignore[arg-type]

    row = run_to_the_end(queue, stage, handler, retry=Retry(max_attempts=1))
    assert row["state"] == "succeeded", row["reason"]
