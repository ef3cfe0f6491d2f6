"""What operators do to jobs is written down once, with who wanted it; and many running jobs are cancelled at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from pgjobq import Queue
from pgjobq.task import Task
from sql.support.hand import Hand


@pytest.fixture
def hand(dsn: str) -> Iterator[Hand]:
    with Hand(dsn) as opened:
        yield opened


@pytest.fixture
def send(queue: Queue) -> Task[..., None]:
    @queue.task
    def send(number: int, token: str = "") -> None: ...

    return send


def test_each_single_change_is_written_down(queue: Queue, send: Task[..., None]) -> None:
    """Who, what, which job: but not the arguments, and nothing when nothing was changed."""
    job = send.enqueue(1).id
    assert queue.edit(job, {"number": 2, "token": "hush"}, priority=3, by="ann")
    assert queue.cancel(job, by="bob")
    assert not queue.cancel(job, by="bob")
    assert not queue.edit(job, priority=4, by="bob")
    assert queue.retry(job)
    assert asyncio.run(_awaited(queue, job)) == (True, True, True)
    assert not queue.retry(2**70)
    assert not queue.cancel(-1)
    found = [(entry.what, entry.who, entry.jobs, int(entry.about["job"])) for entry in queue.audit()]
    role = found[-3][1]
    assert found == [
        ("retry", "eve", 1, job), ("cancel", "eve", 1, job), ("edit", "eve", 1, job),
        ("retry", role, 1, job), ("cancel", "bob", 1, job), ("edit", "ann", 1, job),
    ]  # fmt: skip
    assert role not in ("ann", "bob", "eve")
    assert "hush" not in str(queue.audit())


async def _awaited(queue: Queue, job: int) -> tuple[bool, bool, bool]:
    return (
        await queue.aedit(job, priority=1, by="eve"),
        await queue.acancel(job, by="eve"),
        await queue.aretry(job, by="eve"),
    )


def test_a_replacement_is_no_operators_doing(queue: Queue, send: Task[..., None]) -> None:
    from pgjobq import Unique

    debounce = send.using(unique=Unique(key="k", on_conflict="replace"))
    debounce.enqueue(1)
    debounce.enqueue(2)
    assert queue.audit() == []


def test_many_that_run_are_asked_to_end(queue: Queue, send: Task[..., None], hand: Hand) -> None:
    """By filter, beside those that wait, with one entry of the audit for each state; others are left alone."""
    ids = queue.enqueue_many([send.using(tags=["old"] if n < 6 else []).call(n) for n in range(8)])
    held = [lease.job for lease in hand.claim(4)]
    assert held == ids[:4]
    assert queue.count(tag="old", state="running") == 4
    assert queue.cancel_all(tag="old") == 2
    assert queue.retry_all(tag="old") == 2
    assert queue.cancel_all(running=True, reason="the wrong batch", by="ann", tag="old") == 6
    reasons = dict(hand.sql("SELECT job, reason FROM pgjobq.cancel_request"))
    assert reasons == dict.fromkeys(held, "cancelled while it ran: the wrong batch")
    assert {job.id for job in queue.find(state="cancelled")} == set(ids[4:6])
    told = [(entry.what, entry.who, entry.jobs, entry.about.get("reason")) for entry in queue.audit()[:2]]
    assert sorted(told) == [("cancel", "ann", 2, "the wrong batch"), ("cancel", "ann", 4, "the wrong batch")]
    assert asyncio.run(queue.acancel_all(running=True, ids=[ids[6]])) == 1
    assert queue.count(state="ready") == 1
    assert queue.cancel_all(running=True, state="running") == 4  # asked for already: the answer is the same
