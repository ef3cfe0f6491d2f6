"""get, jobs, errors, retry, cancel: what an application and its operators ask, sync and awaited."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pgjobq import EnqueuedJob, InvalidOption, JobState, Queue
from pgjobq.task import Task
from sql.support.hand import Hand


@pytest.fixture
def hand(dsn: str) -> Iterator[Hand]:
    with Hand(dsn) as opened:
        yield opened


@pytest.fixture
def send(queue: Queue) -> Task[..., None]:
    @queue.task
    def send(number: int) -> None: ...

    return send


def _state(queue: Queue, job: int) -> tuple[str, int, str | None]:
    found, awaited = queue.get(job), asyncio.run(queue.aget(job))
    assert found == awaited
    assert found is not None
    return str(found.state), found.attempt, found.reason


def test_a_jobs_life_as_get_tells_it(queue: Queue, send: Task[..., None], hand: Hand) -> None:
    job = send.using(delay=3600).enqueue(number=1).id
    assert _state(queue, job) == ("scheduled", 0, None)
    hand.set_now("2999-01-01")
    hand.promote()
    assert _state(queue, job) == ("ready", 0, None)
    lease = hand.claim_one()
    hand.set_now("")
    assert _state(queue, job) == ("running", 1, None)
    hand.settle_as("blocked", lease, back=1, waits_for="task:send")
    assert _state(queue, job) == ("blocked", 0, "waits for task:send")
    hand.settle_as("again", hand.adopt(["send"])[0], delay=60, kind="ValueError", message="bad")
    assert _state(queue, job) == ("scheduled", 1, "ValueError: bad")
    hand.set_now("2999-01-01")
    hand.promote()
    lease = hand.claim_one()
    hand.settle_as("f", lease, kind="KeyError", message="'x'")
    hand.set_now("")
    assert _state(queue, job) == ("failed", 2, "KeyError: 'x'")
    assert queue.retry(job)
    assert _state(queue, job)[:2] == ("ready", 2)
    hand.settle_as("s", hand.claim_one(), result={"ok": True})
    assert _state(queue, job) == ("succeeded", 3, None)
    found = queue.get(job)
    assert found is not None
    assert found.result == {"ok": True}
    assert (found.state.final, found.worker) == (True, str(hand.id))
    assert found.started_at is not None
    assert found.finished_at is not None
    assert found.started_at.tzinfo is not None
    errors = queue.errors(job)
    assert [(error.attempt, error.kind, error.message) for error in errors] == [
        (1, "ValueError", "bad"),
        (2, "KeyError", "'x'"),
    ]
    assert errors == asyncio.run(queue.aerrors(job))


def test_what_does_not_exist(queue: Queue) -> None:
    for job in (1, 0, -1, 2**63 - 1):
        assert queue.get(job) is None
        assert queue.errors(job) == []
        assert queue.retry(job) is False
        assert queue.cancel(job) is False
        assert asyncio.run(queue.aretry(job)) is False
        assert asyncio.run(queue.acancel(job)) is False


def test_filters(queue: Queue, send: Task[..., None], hand: Hand) -> None:
    @queue.task(queue="mail")
    def other() -> None: ...

    ids = [send.using(ref=f"order:{number % 2}").enqueue(number=number).id for number in range(6)]
    mails = [other.enqueue().id, other.using(delay=60, ref="order:0").enqueue().id]
    hand.settle_as("c", hand.claim(1)[0])

    def told(**filters: Any) -> list[int]:
        sync = queue.jobs(**filters)
        assert sync == asyncio.run(queue.ajobs(**filters))
        return [job.id for job in sync]

    assert told() == [*mails[::-1], *ids[::-1]]
    assert told(ref="order:1") == [ids[5], ids[3], ids[1]]
    assert told(ref="order:0", task="other") == [mails[1]]
    assert told(ref="nothing") == []
    assert told(queue="mail") == mails[::-1]
    assert told(queue="mail", state="scheduled") == [mails[1]]
    assert told(state=JobState.CANCELLED) == [ids[0]]
    assert told(state="ready", task="send", ref="order:0") == [ids[4], ids[2]]
    assert told(task="send' OR true --") == []
    for state in JobState:
        assert set(told(state=state)) <= set(ids + mails)


def test_paging(queue: Queue, send: Task[..., None]) -> None:
    ids = queue.enqueue_many(send.call(number=number) for number in range(25))
    pages, before = [], None
    while page := [job.id for job in queue.jobs(limit=10, before=before)]:
        pages.append(page)
        before = page[-1]
    assert [len(page) for page in pages] == [10, 10, 5]
    assert [*itertools.chain(*pages)] == ids[::-1]


def test_a_double_press_retries_once(queue: Queue, send: Task[..., None], hand: Hand) -> None:
    job = send.enqueue(number=1).id
    assert queue.retry(job) is False
    hand.settle_as("f", hand.claim_one(), kind="E", message="m")
    assert (queue.retry(job), queue.retry(job)) == (True, False)
    assert hand.claim_one().spared == 1
    assert queue.retry(job) is False
    assert queue.cancel(job) is False, "it runs"


def test_cancel_and_retry_awaited(queue: Queue, send: Task[..., None]) -> None:
    async def scene() -> None:
        job = (await send.aenqueue(number=1)).id
        assert await queue.acancel(job) is True
        assert await queue.acancel(job) is False
        assert await queue.aretry(job) is True
        assert await queue.aretry(job) is False
        assert await queue.amisplaced() == []
        await queue.aclose()

    asyncio.run(scene())


def test_misplaced_tells_what_is_broken(queue: Queue, send: Task[..., None], hand: Hand) -> None:
    job = send.enqueue(number=1).id
    hand.sql("BEGIN")
    try:
        hand.sql("DELETE FROM pgjobq.ready")
        assert queue.misplaced() == []
        assert queue.misplaced(conn=hand.conn) == [(job, "nowhere")]
        hand.sql("INSERT INTO pgjobq.running VALUES (4711, now(), gen_random_uuid(), 1, 0)")
        assert queue.misplaced(conn=hand.conn) == [(job, "nowhere"), (4711, "no such job, yet in running")]
    finally:
        hand.sql("ROLLBACK")


def test_priorities_and_receipts(queue: Queue, hand: Hand) -> None:
    @queue.task(queue="mail", priority=4)
    def send() -> None: ...

    receipt = send.using(priority=-4).enqueue()
    assert (receipt.task, receipt.queue) == ("send", "mail")
    plain = send.enqueue()
    assert [(lease.job, lease.priority) for lease in hand.claim()] == [(receipt.id, -4), (plain.id, 4)]


def test_times_are_the_servers(queue: Queue, send: Task[..., None]) -> None:
    job = queue.get(send.enqueue(number=1).id)
    assert job is not None
    assert abs(datetime.now(UTC) - job.created_at) < timedelta(minutes=5)


def test_jobs_enqueued_by_others_read_as_well(queue: Queue, hand: Hand) -> None:
    """SQL may leave out what Python always says, and may say what Python would not."""
    job = hand.enqueue("somebody_elses", headers={"n": 1, "deep": {"a": []}}, args={"x": {"y": [1, 2.5]}})
    found = queue.get(job)
    assert found is not None
    assert (found.tags, found.ref, found.args) == ((), None, {"x": {"y": [1, 2.5]}})
    assert json.dumps(found.headers) == '{"n": 1, "deep": {"a": []}}' or found.headers == {"n": 1, "deep": {"a": []}}


@pytest.mark.parametrize(
    "door", ["get", "errors", "explain", "cancel", "cancel_running", "retry", "retry_from", "edit"]
)
@pytest.mark.parametrize("wrong", ["7", None, True, 1.0, EnqueuedJob(7, "send", "default")])
def test_what_is_no_id_is_refused_by_name(queue: Queue, door: str, wrong: object) -> None:
    """Above all the receipt in place of its id."""
    with pytest.raises(InvalidOption, match=r"job=.*: wants the number of a job, such as the id of what enqueue"):
        getattr(queue, door)(wrong)


def test_an_id_beyond_bigint_is_simply_not_there(queue: Queue) -> None:
    """An id may come from a URL."""
    assert queue.get(2**63) is None
    assert queue.cancel(10**30) is False
