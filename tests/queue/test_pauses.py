"""pause, resume, paused, cancel_running, audit: what operators say, sync and awaited."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from pgjobq import InvalidOption, NaiveDatetime, Queue
from sql.support.hand import Hand


def test_pausing_twice_changes_the_reason_and_resuming_twice_nothing(queue: Queue) -> None:
    assert queue.pause(queue="mail", reason="first", by="ann")
    assert not queue.pause(queue="mail", reason="second", until=timedelta(hours=1), by="bob")
    (pause,) = queue.paused()
    assert (pause.kind, pause.name, pause.reason, pause.who) == ("queue", "mail", "second", "bob")
    assert pause.until is not None
    assert timedelta(minutes=59) < pause.until - datetime.now(UTC) < timedelta(minutes=61)
    assert queue.resume(queue="mail")
    assert not queue.resume(queue="mail")
    assert queue.paused() == []
    assert [(entry.what, entry.who, entry.about.get("queue")) for entry in queue.audit()] == [
        ("resume", "postgres", "mail"),
        ("pause", "bob", "mail"),
        ("pause", "ann", "mail"),
    ]


def test_the_awaited_twins(queue: Queue) -> None:
    async def live() -> None:
        assert await queue.apause(task="send", until=datetime.now(UTC) + timedelta(days=1))
        assert [pause.name for pause in await queue.apaused()] == ["send"]
        assert await queue.aresume(task="send")
        assert not await queue.acancel_running(1)
        newest, oldest = await queue.aaudit()
        assert [entry.id for entry in await queue.aaudit(before=newest.id, limit=1)] == [oldest.id]
        await queue.aclose()

    asyncio.run(live())


def test_a_pause_is_part_of_the_callers_transaction(queue: Queue, dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        queue.pause(queue="mail", conn=conn)
        assert len(queue.paused(conn=conn)) == 1
        conn.rollback()
    assert queue.paused() == []
    assert queue.audit() == []


def test_what_cannot_be_meant(queue: Queue) -> None:
    with pytest.raises(InvalidOption, match="name one"):
        queue.pause()
    with pytest.raises(InvalidOption, match="name one"):
        queue.resume(queue="a", task="b")
    with pytest.raises(NaiveDatetime, match="time zone"):
        queue.pause(queue="a", until=datetime(2999, 1, 1))  # noqa: DTZ001
    with pytest.raises(InvalidOption, match="wants a time to come; `resume` ends"):
        queue.pause(queue="a", until=timedelta(seconds=-1))
    with pytest.raises(InvalidOption, match="wants a time to come, by the server's clock"):
        queue.pause(queue="a", until=datetime(2020, 1, 1, tzinfo=UTC))
    with pytest.raises(InvalidOption, match="wants a datetime, or a timedelta"):
        queue.pause(queue="a", until=3600)  # type: ignore[arg-type]
    assert queue.paused() == []


def test_a_span_counts_from_the_servers_time(queue: Queue, dsn: str) -> None:
    """Whatever this machine's clock says."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("SET pgjobq.now = '2031-05-01 12:00+00'")
        queue.pause(queue="mail", until=timedelta(minutes=90), conn=conn)
        (pause,) = queue.paused(conn=conn)
    assert pause.until == datetime(2031, 5, 1, 13, 30, tzinfo=UTC)


def test_a_paused_queue_is_no_lane(queue: Queue, dsn: str) -> None:
    with Hand(dsn) as hand:
        hand.enqueue(queue="mail")
        hand.enqueue(queue="other")
        queue.pause(queue="mail")
        assert hand.lanes() == [("other", 0)]
        assert [lease.queue for lease in hand.claim(10)] == ["other"]
        queue.resume(queue="mail")
        assert [lease.queue for lease in hand.claim(10)] == ["mail"]


def test_a_job_parked_in_a_paused_queue_is_not_adopted(queue: Queue, dsn: str) -> None:
    with Hand(dsn) as hand:
        hand.enqueue(queue="mail")
        hand.settle_as("blocked", hand.claim_one(), back=1, waits_for="task:send")
        queue.pause(queue="mail")
        assert hand.adopt(["send"]) == []
        queue.resume(queue="mail")
        assert len(hand.adopt(["send"])) == 1


def test_resuming_a_task_makes_only_its_own_jobs_ready(queue: Queue, dsn: str) -> None:
    with Hand(dsn) as hand:
        jobs = [hand.enqueue(), hand.enqueue()]
        for task, lease in zip(("send", "other"), hand.claim(2), strict=True):
            hand.settle_as("blocked", lease, back=1, waits_for=f"paused:{task}")
        queue.pause(task="send")
        queue.pause(task="other")
        queue.resume(task="send")
        assert [hand.places()[job][0] for job in jobs] == ["ready", "blocked"]


def test_cancelling_what_waits_and_what_has_ended(queue: Queue, dsn: str) -> None:
    with Hand(dsn) as hand:
        job = hand.enqueue()
        assert queue.cancel_running(job, by="ann")
        assert not queue.cancel_running(job, by="ann")
        assert not queue.cancel_running(10**30)
        assert hand.places()[job][0] == "cancelled"
        assert len(queue.audit()) == 1
        running = hand.enqueue()
        lease = hand.claim_one()
        assert queue.cancel_running(running)
        assert queue.cancel_running(running), "asked for already"
        hand.settle_as("again", lease, delay=60)
        hand.say("follow_orders")
        assert hand.places()[running][0] == "cancelled"
        assert hand.sql("SELECT FROM pgjobq.cancel_request") == []
