"""Workflows and batches: written as one, looked at as one, cancelled and retried as one, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from pgjobq import Chunk, ChunkJob, Discard, Gate, Queue, Retry, Unique, Workflow, bulk, current_job, looking
from pgjobq.errors import EnqueueError, InvalidOption, NoSuchWorkflow, NotWrittenYet, WaitTimeout, WorkflowEnded
from pgjobq.task import Task
from sql.support.hand import Hand, doctored, function_text
from support.locks import lock_waiters
from worker.stage import Stage, embedded, eventually, run_drained


@dataclass
class Row:
    n: int


@pytest.fixture
def hand(dsn: str) -> Iterator[Hand]:
    with Hand(dsn) as opened:
        yield opened


@pytest.fixture
def step(queue: Queue) -> Task[..., int]:
    @queue.task(name="step", retry=Retry(max_attempts=1))
    def step(n: int = 0) -> int:
        if n < 0:
            raise ValueError("below zero")
        return n

    return step


def _upkeep(hand: Hand) -> None:
    """What upkeep does in a round."""
    while hand.say("look_at_workflows", 1000)[0][0] or hand.say("release", 1000)[0][0]:
        pass


def _run(hand: Hand, fate: str = "s") -> int:
    """Run one job to such an end."""
    (lease,) = hand.claim(limit=1)
    if fate == "s":
        assert hand.complete(lease) == [lease.job]
    else:
        hand.settle_as(fate, lease, kind="ValueError" if fate == "f" else None, message="bad", reason="no")
    return int(lease.job)


def _states(queue: Queue, *jobs: Any) -> list[str]:
    return [str(getattr(queue.get(getattr(job, "id", job)), "state", None)) for job in jobs]


def _get(queue: Queue, workflow: int) -> Workflow:
    found = queue.get_workflow(workflow)
    assert found is not None
    return found


def test_a_workflow_is_written_and_run(queue: Queue, step: Task[..., int]) -> None:
    with queue.workflow("fulfil", ref="order:42") as flow:
        pay = flow.add(step.call(1))
        packed = flow.add_all([step.call(n) for n in range(3)], after=pay)
        mail = flow.add(step.call(9), after=packed)
        done = flow.when_done(step.call(10))
        with pytest.raises(NotWrittenYet, match="inside it give the job itself"):
            _ = pay.id
    found = _get(queue, flow.id)
    assert (found.name, found.ref, found.state, found.total, found.done) == ("fulfil", "order:42", "running", 5, 0)
    assert (found.ready, found.blocked, found.open, found.progress) == (1, 4, False, 0.0)
    assert _states(queue, pay, *packed, mail, done) == ["ready", *["blocked"] * 5]
    run_drained(queue)
    assert _states(queue, pay, *packed, mail, done) == ["succeeded"] * 6
    found = _get(queue, flow.id)
    assert (found.state, found.succeeded, found.total, found.progress) == ("succeeded", 5, 5, 1.0)
    assert found.ended_at is not None
    assert found.started_at is not None
    last = queue.get(done.id)
    assert last is not None
    assert last.workflow == flow.id
    assert last.started_at is not None
    assert last.started_at >= found.ended_at
    assert [job.id for job in queue.find(workflow=flow.id)] == [
        done.id,
        mail.id,
        *reversed([s.id for s in packed]),
        pay.id,
    ]


def test_nothing_is_written_when_the_block_raises(queue: Queue, step: Task[..., int], dsn: str) -> None:
    with pytest.raises(KeyError), queue.workflow("fulfil") as flow:
        flow.add(step.call(1))
        raise KeyError("no such item")
    with psycopg.connect(dsn) as conn:
        with queue.workflow("fulfil", conn=conn) as flow:
            first = flow.add(step.call(1))
            flow.when_done(step.call(2), needs="any")
        assert queue.get_workflow(flow.id) is None
        conn.rollback()
    assert queue.workflows() == []
    assert queue.jobs() == []
    assert queue.get_workflow(flow.id) is None
    assert queue.get(first.id) is None
    with psycopg.connect(dsn, autocommit=True) as conn:
        with queue.workflow("fulfil", conn=conn) as flow:
            flow.chain(step.call(1), step.call(2))
        assert _get(queue, flow.id).total == 2
        assert not _get(queue, flow.id).open
    with pytest.raises(InvalidOption, match=r"queue.grow"):
        flow.add(step.call(1))


def test_awaited_with_streams_of_both_sorts(queue: Queue, step: Task[..., int]) -> None:
    async def numbers() -> AsyncIterator[Any]:
        for n in range(1500):
            yield step.call(n)

    async def write() -> int:
        async with queue.batch("import", (step.call(n) for n in range(1200)), on_success=step.call(7)) as batch:
            batch.add_many(numbers())
            batch.add_many([step.using(ref=f"row:{n}").call(n) for n in range(30)])
        found = await queue.aget_workflow(batch.id)
        assert found is not None
        assert (found.total, found.ready) == (2730, 2730)
        assert [one.id for one in await queue.aworkflows(name="import")] == [batch.id]
        assert len(await queue.afind(workflow=batch.id, limit=5000)) == 2731
        await queue.aclose()
        return batch.id

    batch = asyncio.run(write())
    with pytest.raises(InvalidOption, match="async with"), queue.batch("import", numbers()):
        pass
    assert len(queue.workflows()) == 1
    run_drained(queue)
    found = _get(queue, batch)
    assert (found.state, found.succeeded) == ("succeeded", 2730)
    assert queue.count(workflow=batch, state="succeeded") == 2731


@pytest.mark.parametrize(
    ("numbers", "state", "called"),
    [
        ([], "succeeded", ["succeeded", "cancelled", "succeeded"]),
        ([1, 2, 3], "succeeded", ["succeeded", "cancelled", "succeeded"]),
        ([1, -2, 3], "failed", ["cancelled", "succeeded", "succeeded"]),
        ([-1, -2, -3], "failed", ["cancelled", "succeeded", "succeeded"]),
    ],
)
def test_callbacks_of_a_batch(
    queue: Queue, step: Task[..., int], numbers: list[int], state: str, called: list[str]
) -> None:
    calls = [step.call(n) for n in numbers]
    with queue.batch("b", calls, on_success=step.call(1), on_failure=step.call(2), on_complete=step.call(3)) as batch:
        pass
    run_drained(queue)
    assert _states(queue, *batch.jobs) == called
    found = _get(queue, batch.id)
    assert (found.state, found.total, found.done) == (state, len(numbers), len(numbers))
    assert found.progress == 1.0


def test_a_failure_is_told_before_the_others_have_ended(queue: Queue, step: Task[..., int], hand: Hand) -> None:
    with queue.batch("b", [step.call(n) for n in range(3)], on_failure=step.using(priority=-5).call(9)) as batch:
        pass
    leases = hand.claim()
    hand.settle_as("f", leases[2], kind="ValueError", message="bad")
    _upkeep(hand)
    assert _states(queue, batch.jobs[0]) == ["ready"]
    found = _get(queue, batch.id)
    assert (found.state, found.running, found.failed) == ("running", 2, 1)
    hand.complete(*leases[:2])
    hand.complete(hand.claim_one())
    _upkeep(hand)
    assert _get(queue, batch.id).state == "failed"


def test_a_job_may_depend_on_a_workflow_of_another(queue: Queue, step: Task[..., int], hand: Hand) -> None:
    with queue.workflow("inner") as inner:
        one = inner.add(step.call(1))
    with queue.workflow("outer") as outer:
        after = outer.add(step.call(2), after=inner)
        last = outer.add(step.call(3), after=after)
    plain = step.using(depends_on=_get(queue, inner.id)).enqueue(4)
    _upkeep(hand)
    assert _states(queue, one, after, last, plain) == ["ready", "blocked", "blocked", "blocked"]
    _run(hand)
    _upkeep(hand)
    assert _states(queue, one, after, last, plain) == ["succeeded", "ready", "blocked", "ready"]


def test_what_waits_for_the_whole_is_not_part_of_it(queue: Queue, step: Task[..., int], hand: Hand) -> None:
    """Else it would wait for itself, also through other jobs and other workflows."""
    with queue.workflow("a") as a:
        one = a.add(step.call(1))
        whole = a.when_done(step.call(2))
        behind = a.add(step.call(3), after=whole)
    with queue.workflow("b") as b:
        waits = b.add(step.call(4), after=a)
    with queue.grow(a) as more:
        crossing = more.add(step.call(5), after=waits)
        across = more.add(step.call(6), after=b)
    assert (_get(queue, a.id).total, _get(queue, b.id).total) == (1, 1)
    order = []
    for _ in range(6):
        order.append(sorted(hand.complete(*hand.claim())))
        _upkeep(hand)
    assert order[:5] == [[one.id], [whole.id, waits.id], [behind.id, crossing.id, across.id], [], []]
    assert [_get(queue, w.id).state for w in (a, b)] == ["succeeded", "succeeded"]


def test_children_join_the_workflow_of_their_parent(queue: Queue, dsn: str) -> None:
    @queue.task
    def leaf(n: int) -> int:
        return n

    @queue.task
    def parent() -> None:
        with psycopg.connect(dsn) as conn, conn.transaction():
            with queue.grow(conn=conn) as flow:
                flow.add_many(leaf.call(n) for n in range(5))
            current_job().complete(conn)

    @queue.task
    def total() -> int:
        flow = queue.workflow_of()
        assert flow is not None
        return sum(queue.result_of(job) or 0 for job in queue.find(workflow=flow.id, task="leaf"))  # type: ignore[misc]

    @queue.task
    def alone() -> None:
        with pytest.raises(InvalidOption, match="belongs to no workflow"), queue.grow() as flow:
            flow.add(leaf.call(1))

    with queue.batch("tree", [parent.call(), parent.call()], on_success=total.call()) as batch:
        pass
    lonely = alone.enqueue()
    run_drained(queue)
    assert _states(queue, lonely, batch.jobs[0]) == ["succeeded", "succeeded"]
    done = queue.get(batch.jobs[0].id)
    assert done is not None
    assert done.result == 20
    assert _get(queue, batch.id).total == 12


def test_nothing_is_added_to_one_that_has_ended(queue: Queue, step: Task[..., int], hand: Hand) -> None:
    with queue.workflow("w") as flow:
        flow.add(step.call(1))
    with queue.grow(flow) as more:
        more.add(step.call(2))
    hand.complete(*hand.claim())
    _upkeep(hand)
    for wrong, sentence in ((flow.id, "has ended"), (10**9, "there is no workflow")):
        with pytest.raises(WorkflowEnded, match=sentence), queue.grow(wrong) as more:
            more.add(step.call(3))
    with queue.workflow("w") as flow:
        flow.add(step.call(1))
    assert queue.cancel_workflow(flow.id) == 1
    with pytest.raises(WorkflowEnded, match="was cancelled"), queue.grow(flow.id) as more:
        more.add(step.call(3))


def test_refusals(queue: Queue, step: Task[..., int], dsn: str) -> None:
    with pytest.raises(InvalidOption, match="name='' is empty"):
        queue.workflow("")
    with pytest.raises(InvalidOption, match="Did you mean 'success'"):
        queue.workflow("w", needs="succes")  # type: ignore[arg-type]
    with queue.workflow("other") as other:
        foreign = other.add(step.call(1))
        with queue.workflow("w") as flow:
            with pytest.raises(EnqueueError, match="wants a call"):
                flow.add(step)  # type: ignore[arg-type]
            with (
                psycopg.connect(dsn) as conn,
                pytest.raises(InvalidOption, match="give the connection to the workflow"),
            ):
                flow.add(step.using(conn=conn).call(1))
            with pytest.raises(InvalidOption, match="another workflow that is not written"):
                flow.add(step.call(1), after=foreign)
            with pytest.raises(InvalidOption, match="after holds 'x'"):
                flow.add(step.call(1), after="x")  # type: ignore[arg-type]
            with pytest.raises(InvalidOption, match="10,000 is the most"):
                flow.add(step.call(1), after=range(1, 10_003))
            with pytest.raises(InvalidOption, match="add\\(\\) takes one"):
                flow.add_many(step.call(1))  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="wants the id of a workflow"):
        queue.get_workflow("7")  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="wants one of running"):
        queue.workflows(state="done")


# --- cancel and retry -------------------------------------------------------------------------------------


def test_cancel_the_whole(queue: Queue, step: Task[..., int], hand: Hand) -> None:
    with queue.workflow("w") as flow:
        first = flow.add(step.call(1))
        rest = flow.chain(step.call(2), step.call(3), after=first)
        clean = flow.when_done(step.call(4), needs="any")
        fine = flow.when_done(step.call(5))
    lease = hand.claim_one()
    assert queue.cancel_workflow(flow.id, reason="the order was withdrawn", by="eve") == 3
    assert _states(queue, first, *rest) == ["running", "cancelled", "cancelled"]
    found = _get(queue, flow.id)
    assert (found.state, found.cancelled_at is not None) == ("running", True)
    (entry,) = queue.audit(limit=1)
    assert (entry.what, entry.who, entry.jobs) == ("cancel_workflow", "eve", 3)
    assert entry.about == {"workflow": flow.id, "reason": "the order was withdrawn"}
    hand.settle_as("c", lease, reason="cancelled while it ran")
    _upkeep(hand)
    assert _get(queue, flow.id).state == "cancelled"
    assert _states(queue, clean, fine) == ["ready", "cancelled"]
    assert queue.cancel_workflow(flow.id) is None
    assert queue.retry_workflow(flow.id) == 4
    assert hand.sql("SELECT FROM pgjobq.cancel_request") == [], "it was for the run that has ended"
    assert _states(queue, first, *rest, fine) == ["ready", "blocked", "blocked", "blocked"]
    run_drained(queue)
    assert _states(queue, first, *rest, clean, fine) == ["succeeded"] * 5
    assert _get(queue, flow.id).state == "succeeded"


def test_retry_what_failed_and_what_followed_from_it(queue: Queue) -> None:
    broken = [True]

    @queue.task(retry=Retry(max_attempts=1))
    def part(n: int) -> int:
        if n == 1 and broken[0]:
            raise ValueError("not yet")
        if n == 9:
            raise Discard("of its own")
        return n

    with queue.workflow("w") as flow:
        a = flow.add(part.call(0))
        b = flow.add(part.call(1), after=a)
        c = flow.add(part.call(2), after=b)
        d = flow.add(part.call(9), after=a)
        last = flow.when_done(part.call(3))
        alarm = flow.when_done(part.call(4), needs="failure")
    run_drained(queue)
    assert _states(queue, a, b, c, d, last, alarm) == [
        "succeeded", "failed", "cancelled", "cancelled", "cancelled", "succeeded"
    ]  # fmt: skip
    assert _get(queue, flow.id).state == "failed"
    reason = queue.get(last.id)
    assert reason is not None
    assert (reason.reason or "").startswith(f"depends on workflow {flow.id}, whose job ")
    broken[0] = False
    assert queue.retry_workflow(flow.id, by="eve") == 3
    assert _get(queue, flow.id).state == "running"
    run_drained(queue)
    assert _states(queue, a, b, c, d) == ["succeeded", "succeeded", "succeeded", "cancelled"]
    assert _states(queue, last, alarm) == ["cancelled", "succeeded"], "d gave up for reasons of its own"
    assert _get(queue, flow.id).state == "cancelled"
    assert queue.retry_workflow(10**9) is None


def test_retry_from_one_brings_back_what_waited_for_the_whole(queue: Queue, step: Task[..., int], hand: Hand) -> None:
    with queue.batch("b", [step.call(1), step.call(2)], on_success=step.call(3)) as batch:
        pass
    first, second = hand.claim()
    hand.settle_as("f", first, kind="ValueError", message="bad")
    hand.complete(second)
    _upkeep(hand)
    assert _states(queue, batch.jobs[0]) == ["cancelled"]
    assert _get(queue, batch.id).state == "failed"
    assert queue.retry_from(first.job) == [first.job, batch.jobs[0].id]
    assert _get(queue, batch.id).state == "running", "before anybody has looked"
    assert _states(queue, batch.jobs[0]) == ["blocked"]
    hand.say("release", 1000)
    assert _states(queue, batch.jobs[0]) == ["blocked"], "what was bad is news of yesterday"
    hand.complete(hand.claim_one())
    _upkeep(hand)
    assert _states(queue, batch.jobs[0]) == ["ready"]
    assert (_get(queue, batch.id).state, _get(queue, batch.id).succeeded) == ("succeeded", 2)


# --- dependents with a time, gates, a unique key ----------------------------------------------------------


def test_a_dependent_may_have_a_time(queue: Queue, step: Task[..., int], hand: Hand) -> None:
    first = step.enqueue(1)
    delayed = step.using(depends_on=first, delay=3600).enqueue(2)
    from_sql = hand.value(
        "SELECT pgjobq.enqueue_after($1)",
        json.dumps([{"task": "step", "depends_on": [first.id], "run_at": "2999-01-01T00:00:00Z"}]),
    )
    past = hand.value(
        "SELECT pgjobq.enqueue_after($1)",
        json.dumps([{"task": "step", "depends_on": [first.id], "run_at": "2001-01-01T00:00:00Z"}]),
    )
    _upkeep(hand)
    assert _states(queue, delayed, from_sql, past) == ["blocked"] * 3
    _run(hand)
    _upkeep(hand)
    assert _states(queue, delayed, from_sql, past) == ["scheduled", "scheduled", "ready"]
    later, far = queue.get(delayed.id), queue.get(from_sql)
    assert later is not None
    assert far is not None
    ended = queue.get(first.id)
    assert ended is not None
    assert later.run_at is not None
    assert ended.finished_at is not None
    assert far.run_at is not None
    assert 3600 <= (later.run_at - ended.finished_at).total_seconds() < 3660, "counted from the end of the first"
    assert far.run_at.year == 2999


def test_the_time_of_a_dependent_may_be_changed_while_it_waits(queue: Queue, step: Task[..., int], hand: Hand) -> None:
    first = step.enqueue(1)
    moved, hurried = (step.using(depends_on=first, delay=3600).enqueue(n) for n in (2, 3))
    assert queue.edit(hurried.id, delay=0)
    assert queue.move_all("elsewhere", ids=[moved.id]) == 1
    _upkeep(hand)
    assert _states(queue, moved, hurried) == ["blocked", "blocked"]
    _run(hand)
    _upkeep(hand)
    assert _states(queue, moved, hurried) == ["scheduled", "ready"]


def test_a_dependent_comes_to_its_gates_afterwards(queue: Queue, hand: Hand) -> None:
    @queue.task(gates=[Gate("api", concurrency=1)])
    def call_api(n: int) -> None: ...

    @queue.task
    def first() -> None: ...

    start = first.enqueue()
    gated = [call_api.using(depends_on=start).enqueue(n) for n in range(2)]
    later = call_api.using(depends_on=start, delay=3600).enqueue(3)
    assert _states(queue, *gated, later) == ["blocked"] * 3
    hand.say("look_at_gates", 100)
    assert _states(queue, *gated) == ["blocked", "blocked"], "not before the first has ended"
    _run(hand)
    _upkeep(hand)
    hand.say("look_at_gates", 100)
    assert _states(queue, *gated, later) == ["ready", "blocked", "scheduled"]
    lease = hand.claim_one()
    hand.settle_as("s", lease)
    hand.say("after", [lease.job])
    assert _states(queue, *gated) == ["succeeded", "ready"]


def test_a_dependent_may_be_unique(queue: Queue, step: Task[..., int], hand: Hand) -> None:
    first = step.enqueue(1)
    once = step.using(unique=Unique(key="digest"), depends_on=first)
    one = once.enqueue(2)
    again = once.enqueue(3)
    assert (one.is_new, again.is_new, again.id) == (True, False, one.id)
    assert _states(queue, one) == ["blocked"]
    other = step.enqueue(4)
    with queue.workflow("w") as flow:
        flow.add(step.call(5))
        held = flow.add(once.call(6), after=other)
    assert held.id == one.id
    found = queue.get(one.id)
    assert found is not None
    assert found.workflow is None, "it stays where it belongs"
    assert [job.id for job in queue.predecessors(one.id)] == [first.id]
    skipped = step.using(unique=Unique(key="digest", on_conflict="skip"))
    with pytest.raises(psycopg.errors.CheckViolation, match="skipped: there is no job to wait for"):
        with queue.workflow("w") as flow:
            flow.chain(skipped.call(7), step.call(8))
    replaced = step.using(unique=Unique(key="digest", on_conflict="replace"), depends_on=first).enqueue(9)
    assert replaced.id == one.id
    assert _states(queue, one) == ["blocked"], "its arguments are new, what it waits for is not"
    _run_all(hand)
    assert _states(queue, one) == ["succeeded"]


def test_a_dependent_may_be_one_of_a_chunk(queue: Queue, step: Task[..., int]) -> None:
    calls: list[list[int]] = []

    @queue.task(chunk=Chunk(size=10, wait=0.2))
    def many(jobs: list[ChunkJob[Row]]) -> None:
        calls.append(sorted(job.id for job in jobs))

    with queue.workflow("w") as flow:
        first = flow.add(step.call(1))
        chunked = flow.add_all([many.call(n=n) for n in range(5)], after=first)
        last = flow.add(step.call(2), after=chunked)
    run_drained(queue)
    assert _states(queue, first, *chunked, last) == ["succeeded"] * 7
    assert sorted(job for call in calls for job in call) == [one.id for one in chunked]


def test_retry_of_one_that_went_well_changes_nothing(queue: Queue, step: Task[..., int]) -> None:
    with queue.workflow("w") as flow:
        flow.add(step.call(1))
    run_drained(queue)
    before = _get(queue, flow.id)
    assert queue.retry_workflow(flow.id) == 0
    assert _get(queue, flow.id) == before
    assert queue.audit() == []


def _run_all(hand: Hand) -> None:
    while leases := hand.claim():
        hand.complete(*leases)
        _upkeep(hand)


def test_a_dependent_may_expire(queue: Queue, step: Task[..., int], hand: Hand) -> None:
    first = step.enqueue(1)
    with queue.workflow("w") as flow:
        late = flow.add(step.using(expires=30).call(2), after=first)
        after = flow.add(step.call(3), after=late)
    hand.sql("UPDATE pgjobq.job SET expires_at = now() WHERE id = $1", late.id)
    hand.sql("UPDATE pgjobq.expiry SET at = now()")
    hand.say("expire", 100)
    _upkeep(hand)
    assert _states(queue, late, after) == ["cancelled", "cancelled"]
    assert _get(queue, flow.id).state == "cancelled"


# --- SQL --------------------------------------------------------------------------------------------------


def test_the_sql_form(queue: Queue, step: Task[..., int], stage: Stage, hand: Hand) -> None:
    flow = stage.value("SELECT pgjobq.start_workflow('fulfil', 'order:42', open => true)")
    ids = [
        job
        for (job,) in stage.query(
            """SELECT pgjobq.add_to_workflow(%s, format('[{"task": "step"}, {"task": "step", "after": [0]},
                   {"task": "step", "depends_on": [%%s], "needs": "any"}]', %s::text)::jsonb)""",
            flow,
            flow,
        )
    ]
    hand.complete(*hand.claim())
    _upkeep(hand)
    hand.complete(*hand.claim())
    _upkeep(hand)
    assert stage.query("SELECT state, total, succeeded, open FROM pgjobq.workflows") == [("running", 2, 2, True)]
    assert _states(queue, ids[2]) == ["blocked"]
    assert stage.value("SELECT pgjobq.close_workflow(%s)", flow)
    assert not stage.value("SELECT pgjobq.close_workflow(%s)", flow)
    _upkeep(hand)
    assert stage.query("SELECT state, name, ref FROM pgjobq.workflows") == [("succeeded", "fulfil", "order:42")]
    assert _states(queue, ids[2]) == ["ready"]
    for wrong, sentence in (("''", "has 0 characters"), ("NULL", "has 0 characters")):
        with pytest.raises(psycopg.errors.CheckViolation, match=sentence):
            stage.query(f"SELECT pgjobq.start_workflow({wrong})")


# --- races ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("guarded", [True, False])
def test_it_does_not_end_over_the_head_of_who_adds_to_it(
    queue: Queue, step: Task[..., int], hand: Hand, dsn: str, guarded: bool
) -> None:
    if not guarded:
        hand.sql(doctored(function_text("enter_workflow"), ("FOR KEY SHARE", "")))
    with queue.batch("b", [step.call(1)], on_complete=step.call(9)) as batch:
        pass
    _upkeep(hand)
    with psycopg.connect(dsn) as conn:
        with queue.grow(batch, conn=conn) as more:
            added = more.add(step.call(2))
        _run(hand)
        _upkeep(hand)
        assert _states(queue, batch.jobs[0]) == ["blocked" if guarded else "ready"]
        hand.sql("SET lock_timeout = '100ms'")  # nobody waits for who adds
    if guarded:
        _run(hand)
        eventually(lambda: _upkeep(hand) or _get(queue, batch.id).state == "succeeded", 20)
        assert _states(queue, added, batch.jobs[0]) == ["succeeded", "ready"]


@pytest.mark.parametrize("guarded", [True, False])
def test_its_next_job_is_ending_while_somebody_looks(
    queue: Queue, step: Task[..., int], hand: Hand, dsn: str, guarded: bool
) -> None:
    """Neither sees the other: a second look finds it."""
    if not guarded:
        hand.sql(
            doctored(
                function_text("look_at_workflows"),
                ("'{0.1 seconds, 2 seconds}'", "'{}'"),
            )
        )
    with queue.batch("b", [step.call(1)], on_complete=step.call(9)) as batch:
        pass
    hand.sql("DELETE FROM pgjobq.workflow_look WHERE at > clock_timestamp()")
    lease = hand.claim_one()
    hand.sql("BEGIN")
    hand.complete(lease)
    with Hand(dsn, lease=None) as other:
        _upkeep(other)
        hand.sql("COMMIT")
        _upkeep(other)
        if not guarded:
            assert other.value("SELECT count(*) FROM pgjobq.workflow_look") == 0, "nobody would ever look again"
            assert other.value("SELECT pgjobq.watch_workflows()") == 1, "but for what is done every 30 seconds"
        eventually(lambda: _upkeep(other) or _states(queue, batch.jobs[0]) == ["ready"], 20)


def test_jobs_that_end_never_wait_for_the_workflow(queue: Queue, step: Task[..., int], hand: Hand, dsn: str) -> None:
    """Its row is held by a cancel, a look and somebody who adds: all in open transactions."""
    with queue.batch("b", [step.call(n) for n in range(4)], on_complete=step.call(9)) as batch:
        pass
    _upkeep(hand)
    hand.sql("SET lock_timeout = '200ms'")
    leases = hand.claim()
    with psycopg.connect(dsn) as one, psycopg.connect(dsn) as two:
        one.execute("SELECT FROM pgjobq.workflow FOR UPDATE")
        hand.complete(*leases[:2])
        hand.settle_as("f", leases[2], kind="ValueError", message="bad")
        _upkeep(hand)
        one.rollback()
        two.execute("UPDATE pgjobq.workflow SET cancelled_at = now()")
        hand.complete(leases[3])
        _upkeep(hand)
    eventually(lambda: _upkeep(hand) or _get(queue, batch.id).state == "failed", 20)
    assert _get(queue, batch.id).failed == 1


@pytest.mark.parametrize("cancel_first", [True, False])
def test_cancel_against_release(queue: Queue, step: Task[..., int], hand: Hand, dsn: str, cancel_first: bool) -> None:
    with queue.workflow("w") as flow:
        first, second = flow.chain(step.call(1), step.call(2))
    _run(hand)
    if cancel_first:
        with psycopg.connect(dsn) as conn:
            assert queue.cancel_workflow(flow.id, conn=conn) == 1
            _upkeep(hand)
        eventually(lambda: _upkeep(hand) or _get(queue, flow.id).state == "cancelled", 20)
    else:
        hand.sql("BEGIN")
        _upkeep(hand)
        assert hand.value("SELECT state FROM pgjobq.jobs WHERE id = $1", second.id) == "ready"
        with psycopg.connect(dsn) as conn, ThreadPoolExecutor(1) as pool:
            cancelling = pool.submit(queue.cancel_workflow, flow.id, conn=conn)
            eventually(lambda: lock_waiters(dsn))
            hand.sql("COMMIT")
            assert cancelling.result(20) == 1
    assert _states(queue, first, second) == ["succeeded", "cancelled"]


def test_what_comes_in_while_it_is_cancelled_is_cancelled_too(
    queue: Queue, step: Task[..., int], hand: Hand, dsn: str
) -> None:
    with queue.workflow("w") as flow:
        first = flow.add(step.call(1))
    with psycopg.connect(dsn) as conn:
        with queue.grow(flow, conn=conn) as more:
            late = more.add(step.call(2))
        assert queue.cancel_workflow(flow.id) == 1
    eventually(lambda: _upkeep(hand) or _get(queue, flow.id).state == "cancelled", 20)
    assert _states(queue, first, late) == ["cancelled", "cancelled"]


def test_one_of_a_cancelled_workflow_may_be_retried_alone(queue: Queue, step: Task[..., int], hand: Hand) -> None:
    with queue.workflow("w") as flow:
        first, second, third = flow.add_all(step.call(n) for n in range(3))
    (lease,) = hand.claim(limit=1)
    assert queue.cancel_workflow(flow.id) == 3
    _upkeep(hand)
    assert queue.retry(second.id)
    with queue.grow(flow.id) as more:  # as its handler may
        child = more.add(step.call(3))
    _upkeep(hand)
    assert _states(queue, first, second, third, child) == ["running", "ready", "cancelled", "ready"]
    assert _get(queue, flow.id).cancelled_at is None, "it goes on"
    hand.settle_as("c", lease, reason="was told to")
    _run(hand)
    _run(hand)
    eventually(lambda: _upkeep(hand) or _get(queue, flow.id).state.final, 20)
    assert _states(queue, first, second, third, child) == ["cancelled", "succeeded", "cancelled", "succeeded"]
    assert _get(queue, flow.id).state == "cancelled"


def test_what_was_retried_before_the_whole_was_cancelled_does_not_let_it_go_on(
    queue: Queue, step: Task[..., int], hand: Hand, dsn: str
) -> None:
    with queue.workflow("w") as flow:
        first, second = flow.add_all(step.call(n) for n in range(2))
    _run(hand, "f")
    _upkeep(hand)
    assert queue.retry(first.id)
    with psycopg.connect(dsn) as conn:
        with queue.grow(flow, conn=conn) as more:
            late = more.add(step.call(2))
        assert queue.cancel_workflow(flow.id) == 2  # before anybody has looked at the retry
    eventually(lambda: _upkeep(hand) or _get(queue, flow.id).state == "cancelled", 20)
    assert _states(queue, first, second, late) == ["cancelled", "cancelled", "cancelled"]
    assert _get(queue, flow.id).cancelled_at is not None


# --- retention --------------------------------------------------------------------------------------------


def test_jobs_are_kept_until_their_workflow_has_ended(queue: Queue, step: Task[..., int], hand: Hand) -> None:
    plain = step.enqueue(0)
    with queue.workflow("w") as flow:
        first, second = flow.chain(step.call(1), step.call(2))
    hand.complete(*hand.claim())
    _upkeep(hand)
    hand.set_now("2999-01-01")
    assert hand.retain(100, 1.0, 1.0) == 1
    assert _states(queue, plain, first) == ["None", "succeeded"]
    assert queue.purge(ids=[first.id]) == 0
    hand.set_now("")
    hand.complete(*hand.claim())
    _upkeep(hand)
    assert _get(queue, flow.id).state == "succeeded"
    hand.say("drop_workflows", 100, 0.0)
    assert queue.get_workflow(flow.id) is not None
    hand.set_now("2999-01-01")
    assert hand.retain(100, 1.0, 1.0) == 2
    assert hand.value("SELECT count(*) FROM pgjobq.member") == 0
    hand.say("drop_workflows", 100, 1.0)
    assert queue.get_workflow(flow.id) is None
    assert _states(queue, second) == ["None"]


# --- at large ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_made_up_workflows_with_workers_killed(stage: Stage, seed: int) -> None:
    """Against a model: each job ends as its needs say, each callback runs once, while workers die and jobs come in."""
    made = random.Random(seed)
    queue = Queue(stage.dsn)

    @queue.task(name="nap_or_fail")
    def nap_or_fail(seconds: float, fails: bool) -> None: ...

    workers = [stage.worker("--lease", "1.5", "--heartbeat", "0.3", "--concurrency", "4").ready() for _ in range(2)]
    model: dict[int, tuple[bool, list[int], str]] = {}  # by job: whether it fails, what it comes after, what it needs
    flows: dict[int, tuple[list[int], dict[str, int]]] = {}
    for size in (8, 25, 0, 15):
        with queue.workflow(f"w{size}", ref="made:up") as flow:
            steps = []
            for _ in range(size):
                before = made.sample(steps, min(len(steps), made.choice([0, 1, 2, 4])))
                fails = made.random() < 0.15
                call = nap_or_fail.call(seconds=made.choice([0, 0.01, 0.1]), fails=fails)
                steps.append(flow.add(call, after=before, needs=made.choice(["success", "success", "any", "failure"])))
            calls = {
                needs: flow.when_done(nap_or_fail.call(0, False), needs=needs)
                for needs in ("success", "failure", "any")
            }  # type: ignore[arg-type]
        for one in steps:
            model[one.id] = (json.loads(one.call.args_text)["fails"], [b.id for b in one.after], one.needs)
        flows[flow.id] = ([one.id for one in steps], {needs: one.id for needs, one in calls.items()})
        if size:
            os.kill(made.choice(eventually(made.choice(workers).children) or []), signal.SIGKILL)
            added = []
            try:
                with queue.grow(flow) as more:
                    added = [more.add(nap_or_fail.call(0.01, False), after=made.choice(steps), needs="any")]
            except WorkflowEnded:
                added = []
            for one in added:
                model[one.id] = (False, [b.id for b in one.after], "any")
                flows[flow.id][0].append(one.id)

    eventually(lambda: not queue.workflows(state="running") and queue.count(state="blocked") == 0, 120)
    eventually(
        lambda: queue.count(state="ready") + queue.count(state="running") + queue.count(state="scheduled") == 0, 60
    )
    ends = _model_ends(model)
    assert {job: str(getattr(queue.get(job), "state", None)) for job in model} == ends
    for flow_id, (jobs, callbacks) in flows.items():
        bad = [job for job in jobs if ends[job] == "failed" or (ends[job] == "cancelled" and not _unneeded(queue, job))]
        found = _get(queue, flow_id)
        assert (found.total, found.done) == (len(jobs), len(jobs))
        assert found.state == (
            "succeeded" if not bad else "failed" if any(ends[j] == "failed" for j in bad) else "cancelled"
        )
        want = {"success": not bad, "failure": bool(bad), "any": True}
        got = {needs: str(getattr(queue.get(job), "state", None)) for needs, job in callbacks.items()}
        assert got == {needs: "succeeded" if runs else "cancelled" for needs, runs in want.items()}
    assert (
        stage.query(
            "SELECT job, count(*) FROM pgjobq.attempt_error WHERE kind <> 'WorkerDied' GROUP BY 1 HAVING count(*) > 1"
        )
        == []
    )
    assert stage.value("SELECT count(*) FROM pgjobq.pending") == 0
    assert queue.misplaced() == []


def _unneeded(queue: Queue, job: int) -> bool:
    found = queue.get(job)
    assert found is not None
    return (found.reason or "").startswith("depends on the failure of")


def _model_ends(model: dict[int, tuple[bool, list[int], str]]) -> dict[int, str]:
    """How each job ends, by the rules alone."""
    ends: dict[int, str] = {}
    for job in sorted(model):
        fails, before, needs = model[job]
        good = [ends[b] == "succeeded" for b in before]
        runs = not before or needs == "any" or (all(good) if needs == "success" else not all(good))
        ends[job] = "cancelled" if not runs else "failed" if fails else "succeeded"
    return ends


# --- many retried at once ----------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1000, 1])
def test_what_waits_for_the_whole_is_retried_after_it(
    queue: Queue, step: Task[..., int], hand: Hand, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    """A callback has a smaller id than the jobs of the stream, and jobs that failed may depend on cancelled ones."""
    monkeypatch.setattr(bulk, "BATCH", batch)
    with queue.batch("b", [step.call(1), step.call(2)], on_complete=step.call(9)) as flow:
        pass
    (done,) = flow.jobs
    for _ in range(2):
        _run(hand, "f")
    _upkeep(hand)
    _run(hand, "f")  # the callback
    assert _states(queue, done) == ["failed"]
    assert queue.retry_all(workflow=flow.id, by="eve") == 3
    _upkeep(hand)
    assert _states(queue, done) == ["blocked"], "its jobs run again, so it has to wait for them"
    assert queue.count(workflow=flow.id, state="ready") == 2
    assert {(one.who, one.what) for one in queue.audit()} == {("eve", "retry")}
    for _ in range(2):
        _run(hand)
    _upkeep(hand)
    assert _states(queue, done) == ["ready"]


def test_a_callback_named_with_its_jobs_waits_for_them(queue: Queue, step: Task[..., int], hand: Hand) -> None:
    """By their ids, in one call: the callback's is the smallest."""
    with queue.batch("b", [step.call(1)], on_complete=step.call(9)) as flow:
        pass
    (done,) = flow.jobs
    _run(hand, "f")
    _upkeep(hand)
    _run(hand, "f")
    failed = [job.id for job in queue.find(state="failed")]
    assert hand.value("SELECT pgjobq.act('retry', $1, '{}')", failed) == 2
    _upkeep(hand)
    assert _states(queue, done) == ["blocked"]


def test_what_failed_after_one_that_was_cancelled_is_retried_after_it(
    queue: Queue, step: Task[..., int], hand: Hand
) -> None:
    first = step.enqueue(1)
    second = step.using(depends_on=first, needs="any").enqueue(2)
    assert queue.cancel(first.id)
    _upkeep(hand)
    _run(hand, "f")
    assert _states(queue, first, second) == ["cancelled", "failed"]
    assert asyncio.run(_retry_all(queue)) == 2
    assert _states(queue, first, second) == ["ready", "blocked"]


@pytest.mark.parametrize("batch", [1, 1000])
def test_retry_comes_to_what_is_below_a_whole_after_it(
    queue: Queue, step: Task[..., int], hand: Hand, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    """A chain behind a workflow that is behind another one, whose last job was written last."""
    monkeypatch.setattr(bulk, "BATCH", batch)
    with queue.workflow("first") as first:
        first.add(step.call(1))
    with queue.workflow("second") as second:
        middle = second.add(step.call(2), after=first)
    third = step.using(depends_on=second.id).enqueue(3)
    fourth = step.using(depends_on=third).enqueue(4)
    with queue.grow(second) as more:
        later = more.add(step.call(5), after=middle)
    with queue.grow(first) as more:
        last = more.add(step.call(6))
    _run(hand)
    _run(hand, "f")
    _upkeep(hand)
    chain = (last, middle, later, third, fourth)
    assert _states(queue, *chain) == ["failed", *["cancelled"] * 4]
    assert queue.retry_all(task="step") == 5
    _upkeep(hand)
    for place in range(5):
        assert _states(queue, *chain) == [*["succeeded"] * place, "ready", *["blocked"] * (4 - place)]
        _run(hand)
        _upkeep(hand)
    assert _states(queue, *chain) == ["succeeded"] * 5


def test_retry_of_two_workflows_that_wait_for_each_other(
    queue: Queue, step: Task[..., int], hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    with queue.workflow("one") as one:
        one.add(step.call(1))
    with queue.workflow("other") as other:
        theirs = other.add(step.call(2), after=one)
    ((cause,),) = hand.sql("SELECT job FROM pgjobq.member WHERE workflow = $1", one.id)
    mine = step.using(depends_on=other.id).enqueue(3)
    hand.sql("INSERT INTO pgjobq.member (job, workflow, counted) VALUES ($1, $2, true)", mine.id, one.id)
    for workflow in (one, other):
        assert queue.cancel_workflow(workflow.id)
    _upkeep(hand)
    assert queue.retry_all(task="step") == 3
    assert _states(queue, cause, mine, theirs) == ["ready", "blocked", "blocked"]


async def _retry_all(queue: Queue) -> int:
    return await queue.aretry_all(task="step")


# --- fail fast ---------------------------------------------------------------------------------------------


def test_the_first_failure_cancels_the_rest(queue: Queue, step: Task[..., int], hand: Hand) -> None:
    with queue.workflow("w", fail_fast=True) as flow:
        jobs = flow.add_all(step.call(n) for n in range(4))
        last = flow.add(step.call(5), after=jobs)
        alarm = flow.when_done(step.call(6), needs="failure")
        tidy = flow.when_done(step.call(7), needs="any")
    (lease,) = hand.claim(limit=1)
    _run(hand)
    _run(hand, "f")
    _upkeep(hand)
    assert _states(queue, *jobs) == ["running", "succeeded", "failed", "cancelled"]
    assert _states(queue, last, alarm, tidy) == ["cancelled", "ready", "blocked"]
    bad = jobs[2].id
    found = queue.get(jobs[3].id)
    assert found is not None
    assert found.reason == f"cancelled while it waited: job {bad} of its workflow did not succeed"
    assert hand.sql("SELECT job, reason FROM pgjobq.cancel_request") == [
        (lease.job, f"cancelled while it ran: job {bad} of its workflow did not succeed")
    ]
    with pytest.raises(WorkflowEnded, match="was cancelled"), queue.grow(flow.id) as more:
        more.add(step.call(8))
    hand.settle_as("c", lease, reason="was told to")
    _upkeep(hand)
    whole = _get(queue, flow.id)
    assert (whole.state, whole.bad, whole.fail_fast) == ("failed", bad, True)
    assert _states(queue, tidy) == ["ready"]


def test_one_that_failed_fast_may_go_on(queue: Queue, step: Task[..., int], hand: Hand) -> None:
    with queue.batch("b", [step.call(n) for n in range(3)], fail_fast=True) as flow:
        pass
    _run(hand, "f")
    _upkeep(hand)
    assert _get(queue, flow.id).state == "failed"
    assert queue.retry_workflow(flow.id) == 3
    _upkeep(hand)
    _run(hand)
    _upkeep(hand)
    assert queue.count(workflow=flow.id, state="ready") == 2, "yesterday's failure cancels nothing"
    _run(hand, "f")
    _upkeep(hand)
    assert [queue.count(workflow=flow.id, state=state) for state in ("failed", "cancelled")] == [1, 1]
    (failed,) = queue.find(workflow=flow.id, state="failed")
    assert queue.retry(failed.id), "one of them alone"
    _upkeep(hand)
    assert _states(queue, failed) == ["ready"]
    _run(hand, "f")
    _upkeep(hand)
    assert _get(queue, flow.id).state == "failed"


def test_without_it_the_others_go_on(queue: Queue, step: Task[..., int], hand: Hand) -> None:
    with queue.workflow("w") as flow:
        jobs = flow.add_all(step.call(n) for n in range(2))
    _run(hand, "f")
    _upkeep(hand)
    assert _states(queue, *jobs) == ["failed", "ready"]
    assert (_get(queue, flow.id).bad, _get(queue, flow.id).fail_fast) == (jobs[0].id, False)
    with pytest.raises(InvalidOption, match="fail_fast='yes': wants True or False"):
        queue.workflow("w", fail_fast="yes")  # type: ignore[arg-type]


def test_it_fails_fast_under_a_worker(queue: Queue) -> None:
    @queue.task(name="step", retry=Retry(max_attempts=1))
    async def step(n: int) -> int:
        if n < 0:
            raise ValueError("below zero")
        await asyncio.sleep(600 if n else 0)
        return n

    with embedded(queue):
        with queue.workflow("w", fail_fast=True) as flow:
            jobs = [flow.add(step.call(n)) for n in (0, 1, -1)]
        ended = flow.wait(60)
    assert (ended.state, ended.succeeded, ended.failed, ended.cancelled) == ("failed", 1, 1, 1)
    assert _states(queue, *jobs) == ["succeeded", "cancelled", "failed"]


# --- who waits for the whole -------------------------------------------------------------------------------


def test_somebody_waits_for_a_workflow(queue: Queue, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "FIRST_LOOK", 1_000.0)  # whoever waits is told, or sleeps on
    monkeypatch.setattr(looking, "LOOK_EVERY", 1_000.0)
    go = threading.Event()

    @queue.task
    def step(n: int) -> int:
        go.wait(60)
        return n

    def let_go(workflow: int, waiting: int) -> None:
        """When so many have said that they wait: an end that was being written before that tells nobody."""
        sql = "SELECT count(*) FROM pgjobq.awaited WHERE job = %s"
        eventually(lambda: stage.value(sql, workflow) == waiting)
        go.set()

    with embedded(queue), ThreadPoolExecutor(1) as pool:
        with queue.workflow("w") as flow:
            flow.chain(step.call(1), step.call(2), step.call(3))
        asked = pool.submit(flow.wait, 60)
        let_go(flow.id, 1)
        assert (asked.result(30).state, flow.wait(0).succeeded) == ("succeeded", 3)
        go.clear()

        async def twins() -> list[Workflow]:
            async with queue.batch("b", [step.call(n) for n in range(20)]) as batch:
                pass
            both = asyncio.gather(batch.await_end(60), queue.await_workflow(batch.id, 60))
            await asyncio.to_thread(let_go, batch.id, 2)
            return list(await asyncio.wait_for(both, 30))  # when their time is over they look by themselves

        assert [one.done for one in asyncio.run(twins())] == [20, 20]


def test_waiting_for_a_workflow_may_be_in_vain(queue: Queue, step: Task[..., int]) -> None:
    with queue.workflow("w") as flow:
        flow.add(step.call(1))
        with pytest.raises(NotWrittenYet):
            flow.wait(1)
    with pytest.raises(WaitTimeout, match=r"workflow \d+ \(w\) has not ended in time: 0 of its 1 jobs have"):
        flow.wait(0.01)
    with pytest.raises(NoSuchWorkflow, match="there is no workflow 10000"):
        queue.wait_for_workflow(10_000, 1)
    with pytest.raises(NoSuchWorkflow):
        asyncio.run(queue.await_workflow(10_000, 1))
    for wrong in (True, "1", None):
        with pytest.raises(InvalidOption, match="wants the id of a workflow"):
            queue.wait_for_workflow(wrong, 1)  # type: ignore[arg-type]
