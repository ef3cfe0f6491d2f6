"""depends_on: jobs that wait for jobs, whatever happens to these, and at whatever moment."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from pgjobq import Discard, JobState, Queue, Retry, current_job
from pgjobq.errors import InvalidOption
from pgjobq.task import Task
from sql.support.hand import Hand, doctored, function_text
from support.locks import lock_waiters
from worker.stage import Stage, embedded, eventually, run_drained


@pytest.fixture
def hand(dsn: str) -> Iterator[Hand]:
    with Hand(dsn) as opened:
        yield opened


@pytest.fixture
def step(queue: Queue) -> Task[..., None]:
    @queue.task
    def step(n: int = 0) -> None: ...

    return step


def _states(queue: Queue, *jobs: Any) -> list[str]:
    found = [queue.get(job if isinstance(job, int) else job.id) for job in jobs]
    return [str(job.state) if job else "gone" for job in found]


def _release(hand: Hand) -> int:
    return int(hand.value("SELECT pgjobq.release(1000)"))


def _run(hand: Hand, fate: str = "s") -> int:
    """Run the next ready job by hand, to this end."""
    (lease,) = hand.claim(limit=1)
    if fate == "s":
        assert hand.complete(lease) == [lease.job]
    else:
        hand.settle_as(fate, lease, kind="ValueError" if fate == "f" else None, message="bad", reason="no")
    return int(lease.job)


# --- what it is for ---------------------------------------------------------------------------------------


def test_a_chain_and_a_fan_with_the_results_of_those_before(queue: Queue) -> None:
    @queue.task
    async def part(n: int) -> int:
        return n * n

    @queue.task
    async def total() -> int:
        return sum(queue.result_of(job) for job in await queue.apredecessors())  # type: ignore[misc]

    @queue.task
    def doubled() -> int:
        (before,) = queue.predecessors()
        return 2 * queue.result_of(before)  # type: ignore[operator, no-any-return]

    with embedded(queue):
        parts = [part.enqueue(n) for n in range(20)]
        summed = total.using(depends_on=parts).enqueue()
        last = doubled.using(depends_on=summed.id).enqueue()
        assert last.wait(60) == 2 * sum(n * n for n in range(20))
        assert [job.id for job in queue.predecessors(summed.id)] == [job.id for job in parts]
        assert [job.id for job in queue.dependents(parts[0].id)] == [summed.id]


def test_a_drain_runs_what_its_own_jobs_set_free(queue: Queue, step: Task[..., None]) -> None:
    jobs = [step.enqueue()]
    for _ in range(5):
        jobs.append(step.using(depends_on=jobs[-1]).enqueue())
    run_drained(queue)
    assert _states(queue, *jobs) == ["succeeded"] * 6


def test_enqueue_many_and_awaited(queue: Queue, step: Task[..., None]) -> None:
    first = step.enqueue()
    after = step.using(depends_on=[first])
    many = queue.enqueue_many([step.call(1), *(after.call(n) for n in range(3)), step.call(2)])
    one = asyncio.run(step.using(depends_on=first).aenqueue())
    assert _states(queue, *many, one) == ["ready", "blocked", "blocked", "blocked", "ready", "blocked"]
    assert queue.misplaced() == []
    run_drained(queue)
    assert set(_states(queue, *many, one)) == {"succeeded"}


@pytest.mark.parametrize(
    ("needs", "fates", "state"),
    [
        ("success", "ss", "ready"),
        ("success", "sf", "cancelled"),
        ("success", "cs", "cancelled"),
        ("success", "f", "cancelled"),
        ("success", "s", "blocked"),
        ("any", "fc", "ready"),
        ("any", "f", "blocked"),
        ("failure", "f", "ready"),
        ("failure", "sc", "ready"),
        ("failure", "ss", "cancelled"),
        ("failure", "s", "blocked"),
    ],
)
def test_what_it_needs(queue: Queue, step: Task[..., None], hand: Hand, needs: Any, fates: str, state: str) -> None:
    both = [step.enqueue(), step.enqueue()]
    last = step.using(depends_on=both, needs=needs).enqueue()
    after = step.using(depends_on=last).enqueue()
    assert _states(queue, last, after) == ["blocked", "blocked"]
    for fate in fates:
        _run(hand, fate)
        _release(hand)
    assert _states(queue, last, after) == [state, "cancelled" if state == "cancelled" else "blocked"]
    if state == "cancelled" and needs == "success":
        found, next_one = queue.get(last.id), queue.get(after.id)
        assert found is not None
        assert next_one is not None
        bad = both["fc".find(fates[0]) < 0]
        assert (found.reason or "").startswith(f"depends on job {bad.id}, which ")
        assert next_one.reason == f"depends on job {last.id}, which was cancelled"


def test_built_inside_a_handler_in_its_own_transaction(queue: Queue, dsn: str) -> None:
    made: list[int] = []

    @queue.task
    def leaf(n: int) -> int:
        return n

    @queue.task(retry=Retry(max_attempts=2, wait=0))
    def build() -> None:
        job = current_job()
        with psycopg.connect(dsn) as conn:
            leaves = [leaf.using(conn=conn, depends_on=job.id).enqueue(n) for n in range(3)]
            made.append(gather.using(conn=conn, depends_on=leaves).enqueue().id)
            if job.attempt == 1:
                raise RuntimeError("and all of it is rolled back")
            job.complete(conn)

    @queue.task
    def gather() -> int:
        return sum(queue.result_of(job) for job in queue.predecessors())  # type: ignore[misc]

    build.enqueue()
    run_drained(queue)
    assert queue.get(made[0]) is None
    done = queue.get(made[1])
    assert done is not None
    assert (done.state, done.result) == (JobState.SUCCEEDED, 3)


def test_the_sql_form_makes_a_whole_flow_in_one_statement(queue: Queue, step: Task[..., None], stage: Stage) -> None:
    ids = [
        job
        for (job,) in stage.query(
            """SELECT pgjobq.enqueue_after('[{"task": "step"}, {"task": "step", "args": {"n": 1}, "after": [0]},
                                             {"task": "step", "after": [0, 1], "needs": "any", "queue": "mail"}]')"""
        )
    ]
    assert _states(queue, *ids) == ["ready", "blocked", "blocked"]
    assert [job.id for job in queue.predecessors(ids[2])] == ids[:2]
    run_drained(queue)
    assert _states(queue, *ids) == ["succeeded"] * 3


def test_retry_from_the_step_that_failed(queue: Queue) -> None:
    broken = [True]

    @queue.task(retry=Retry(max_attempts=1))
    def one(n: int) -> int:
        if n == 1 and broken[0]:
            raise ValueError("not yet")
        if n == 9:
            raise Discard("of its own")
        return n

    a = one.enqueue(0)
    b = one.using(depends_on=a).enqueue(1)
    c = one.using(depends_on=b).enqueue(2)
    d = one.using(depends_on=[a, c]).enqueue(3)
    own = one.using(depends_on=a).enqueue(9)
    run_drained(queue)
    assert _states(queue, a, b, c, d, own) == ["succeeded", "failed", "cancelled", "cancelled", "cancelled"]
    broken[0] = False
    assert queue.retry_from(b.id, by="ann") == [b.id, c.id, d.id]
    assert queue.retry_from(b.id, by="bob") == []
    assert [(one.who, one.what, one.jobs, one.about) for one in queue.audit()] == [
        ("ann", "retry_from", 3, {"job": b.id})
    ]
    assert _states(queue, a, b, c, d, own) == ["succeeded", "ready", "blocked", "blocked", "cancelled"]
    run_drained(queue)
    assert _states(queue, a, b, c, d, own) == ["succeeded"] * 4 + ["cancelled"]


# --- refusals ---------------------------------------------------------------------------------------------


def test_refusals(queue: Queue, step: Task[..., None], stage: Stage) -> None:
    for wrong, sentence in (
        ({"depends_on": "7"}, "depends_on='7': wants jobs"),
        ({"depends_on": [0]}, "depends_on holds 0"),
        ({"depends_on": 1, "needs": "succes"}, "Did you mean 'success'"),
    ):
        with pytest.raises(InvalidOption, match=sentence):
            step.using(**wrong)  # type: ignore[arg-type]
    with pytest.raises(psycopg.errors.CheckViolation, match="depends_on names job 999, and there is no such job"):
        step.using(depends_on=999).enqueue()
    for wrong, sentence in (
        ('[{"task": "step", "after": [0]}]', "after of element 0 wants places"),
        ('[{"task": "a"}, {"task": "b", "after": [0], "needs": "all"}]', "needs is 'all'"),
        (
            '[{"task": "a"}, {"task": "b", "after": [0], "delay": "1 h", "run_at": "2999-01-01"}]',
            "has run_at and delay: give one of them",
        ),
        ('[{"task": "a", "depend_on": [1]}]', "no key 'depend_on'"),
    ):
        with pytest.raises(psycopg.errors.CheckViolation, match=sentence):
            stage.query("SELECT pgjobq.enqueue_after(%s)", wrong)
    assert queue.jobs() == []


# --- races ------------------------------------------------------------------------------------------------


def test_it_ends_while_the_dependent_is_still_being_enqueued(
    queue: Queue, step: Task[..., None], hand: Hand, dsn: str
) -> None:
    first = step.enqueue()
    with psycopg.connect(dsn) as conn:
        second = step.using(conn=conn, depends_on=first).enqueue()
        _run(hand)
        assert _release(hand) == 0
    assert _release(hand) == 1
    assert _states(queue, first, second) == ["succeeded", "ready"]


def test_it_is_ending_while_the_dependent_is_enqueued(
    queue: Queue, step: Task[..., None], hand: Hand, dsn: str
) -> None:
    """Neither transaction sees the other, and the first look comes too early: the later one finds it."""
    first = step.enqueue()
    lease = hand.claim_one()
    hand.sql("BEGIN")
    hand.complete(lease)
    second = step.using(depends_on=first).enqueue()
    with Hand(dsn, lease=None) as other:
        assert _release(other) == 1
        assert _states(queue, second) == ["blocked"]
        hand.sql("COMMIT")
        assert _release(other) == 0, "nobody noted it"
        eventually(lambda: _release(other) == 1, 20)
    assert _states(queue, first, second) == ["succeeded", "ready"]


def test_what_nobody_noted_is_found_now_and_then(queue: Queue, step: Task[..., None], hand: Hand) -> None:
    first = step.enqueue()
    second = step.using(depends_on=first).enqueue()
    hand.sql("DELETE FROM pgjobq.look")
    hand.replaced["complete"] = doctored(
        hand.text("complete"), ("SELECT pgjobq.ended_many(ARRAY(SELECT job FROM held))", "SELECT true")
    )
    _run(hand)
    assert _release(hand) == 0
    assert hand.value("SELECT pgjobq.watch_dependencies()") == 1
    assert _release(hand) == 1
    assert _states(queue, second) == ["ready"]


@pytest.mark.parametrize("guarded", [True, False])
def test_two_that_release_at_once(
    queue: Queue, step: Task[..., None], stage: Stage, dsn: str, hand: Hand, guarded: bool
) -> None:
    """Each has seen one predecessor end, neither what the other has seen. Without the lock the job is stuck."""
    if not guarded:
        hand.sql(doctored(function_text("release"), ("ORDER BY b.job FOR UPDATE SKIP LOCKED", "ORDER BY b.job")))
    both = [step.enqueue(), step.enqueue()]
    last = step.using(depends_on=both).enqueue()
    assert _release(hand) == 1
    hand.sql("DELETE FROM pgjobq.look")
    with Hand(dsn) as other, ThreadPoolExecutor(1) as pool:
        _run(hand)
        other.sql("BEGIN")
        assert _release(other) == 1
        _run(hand)
        released = pool.submit(_release, hand)
        if guarded:
            assert released.result(20) == 1
        else:
            eventually(lambda: lock_waiters(stage.dsn))
        other.sql("COMMIT")
        assert released.result(20) == 1
        if guarded:
            eventually(lambda: _release(hand) == 1, 20)
    hand.sql("SELECT pgjobq.watch_dependencies()")
    _release(hand)
    assert _states(queue, last) == ["ready" if guarded else "blocked"]


def test_a_cancel_under_way_holds_up_nobody(queue: Queue, step: Task[..., None], dsn: str, hand: Hand) -> None:
    first = step.enqueue()
    cancelled, other = (step.using(depends_on=first).enqueue() for _ in range(2))
    with psycopg.connect(dsn) as conn:
        assert queue.cancel(cancelled.id, conn=conn)
        _run(hand)
        hand.sql("SET lock_timeout = '5s'")
        _release(hand)
        assert _states(queue, other) == ["ready"]
    eventually(lambda: _release(hand) == 1, 20)
    assert _states(queue, cancelled, other) == ["cancelled", "ready"]
    assert hand.value("SELECT count(*) FROM pgjobq.pending") == 0


def test_who_ends_a_job_waits_for_nobody(queue: Queue, step: Task[..., None], dsn: str, hand: Hand) -> None:
    """A transaction that enqueues a dependent, and one that cancels it, may stay open for long."""
    first = step.enqueue()
    second = step.using(depends_on=first).enqueue()
    hand.sql("SET lock_timeout = '100ms'")
    with psycopg.connect(dsn) as conn:
        step.using(conn=conn, depends_on=[first, second]).enqueue()
        assert queue.cancel(second.id, conn=conn)
        assert _run(hand) == first.id
        conn.rollback()
    while _release(hand):
        pass
    eventually(lambda: _release(hand) >= 0 and _states(queue, second) == ["ready"], 20)


# --- at large ---------------------------------------------------------------------------------------------

ORDER = """
SELECT d.job, d.on_job FROM pgjobq.dependency d
JOIN pgjobq.finished a ON a.job = d.job LEFT JOIN pgjobq.finished b ON b.job = d.on_job
WHERE b.job IS NULL OR a.started_at < b.finished_at
"""


@pytest.mark.parametrize("seed", range(3))
def test_a_made_up_net_with_workers_killed(stage: Stage, seed: int) -> None:
    """Everything runs, once its predecessors have succeeded and not before, though worker processes die under it."""
    made = random.Random(seed)
    queue = Queue(stage.dsn)

    @queue.task
    def nap(seconds: float) -> None: ...

    workers = [stage.worker("--lease", "1.5", "--heartbeat", "0.3", "--concurrency", "4").ready() for _ in range(2)]
    ids: list[int] = []
    for n in range(60):
        before = made.sample(ids, min(len(ids), made.choice([0, 1, 2, 5])))
        ids.append(nap.using(depends_on=before).enqueue(seconds=made.choice([0, 0.01, 0.1])).id)
        if n in (25, 45):
            os.kill(made.choice(eventually(made.choice(workers).children) or []), signal.SIGKILL)
    eventually(lambda: stage.value("SELECT count(*) FROM pgjobq.finished WHERE outcome = 's'") == 60, 90)
    assert stage.query(ORDER) == []
    assert stage.value("SELECT count(*) FROM pgjobq.pending") == 0
    assert queue.misplaced() == []


def test_retention_forgets_who_depended_on_whom(queue: Queue, step: Task[..., None], hand: Hand) -> None:
    first = step.enqueue()
    step.using(depends_on=first).enqueue()
    run_drained(queue)
    hand.set_now("2999-01-01")
    assert hand.value("SELECT count(*) FROM pgjobq.dependency") == 1
    hand.say("retain", 100, 1.0, 1.0, "(0,0)", "(1000,0)")
    assert hand.value("SELECT count(*) FROM pgjobq.dependency") == 0
