"""Jobs that nobody needs from some time on: none starts late, and those that wait are ended and say why."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from pgjobq import Gate, InvalidOption, JobState, NaiveDatetime, Queue, ScheduleError, Unique
from pgjobq.task import Task
from sql.support.hand import Hand, doctored, function_text

Send = Task[..., None]
SOON = "2030-01-01 00:00:30+00"
NOW, LATER = "2030-01-01 00:00:00+00", "2030-01-01 00:01:00+00"


@pytest.fixture
def send(queue: Queue) -> Send:
    @queue.task
    def send(order: int) -> None: ...

    return send


@pytest.fixture
def hand(dsn: str) -> Iterator[Hand]:
    with Hand(dsn, lease=10**9) as hand:
        hand.set_now(NOW)
        yield hand


def put(hand: Hand, *jobs: dict[str, Any]) -> list[int]:
    """Enqueue through SQL; each expires 30 s from now."""
    text = psycopg.types.json.Jsonb([{"task": "send", "expires_at": SOON} | job for job in jobs])
    return [job for (job,) in hand.sql("SELECT pgjobq.enqueue_many($1)", text)]


def expire(hand: Hand) -> int:
    return int(hand.say("expire", 1000)[0][0])


def ends(hand: Hand) -> list[tuple[int, str, str]]:
    return hand.sql("SELECT id, state, reason FROM pgjobq.jobs WHERE state = 'cancelled' ORDER BY id")


def test_a_claim_tells_what_has_expired(hand: Hand) -> None:
    """Before its time a job is like any other, from then on its version is 0, also when an attempt was made before."""
    early, retried, late = put(hand, {}, {"version": 7}, {"version": 7})
    first, second = hand.claim(2)
    assert [(lease.job, lease.version) for lease in (first, second)] == [(early, None), (retried, 7)]
    hand.complete(first)
    hand.settle_as("again", second)
    hand.set_now(LATER)
    assert sorted((lease.job, lease.version) for lease in hand.claim()) == [(retried, 0), (late, 0)]


def test_the_chore_ends_all_that_wait(hand: Hand, queue: Queue) -> None:
    """Ready, scheduled, blocked at a gate, waiting for another attempt; what runs may go on."""
    ready, delayed = put(hand, {}, {"delay": "10 s"})
    gate = {"gates": [{"key": "api", "concurrency": 1}]}
    passed, blocked = put(hand, gate, gate)
    hand.say("look_at_gates", 10)
    again, fine, done = put(hand, {"priority": -1}, {"expires_at": None}, {"priority": -1})
    for lease in hand.claim(2):
        if lease.job == again:
            hand.settle_as("again", lease, delay=20)
        else:
            assert lease.job == done
            hand.complete(lease)
    (running,) = put(hand, {"priority": -9})
    held = hand.claim(1)
    assert [lease.job for lease in held] == [running]
    assert expire(hand) == 0
    hand.set_now(LATER)
    assert expire(hand) == 7
    assert ends(hand) == [(job, "cancelled", "expired before it started")
                          for job in sorted([ready, delayed, passed, blocked, again])]  # fmt: skip
    assert hand.value("SELECT state FROM pgjobq.jobs WHERE id = $1", fine) == "ready"
    # What ran meanwhile goes on; if it comes to wait once more, it is over.
    hand.settle_as("again", held[0], delay=60)
    hand.set_now("2030-01-01 00:01:30+00")
    assert expire(hand) == 1
    assert hand.value("SELECT state FROM pgjobq.jobs WHERE id = $1", running) == "cancelled"
    hand.set_now("2031-01-01 00:00:00+00")
    assert (expire(hand), hand.value("SELECT count(*) FROM pgjobq.expiry")) == (0, 0)
    assert hand.value("SELECT count(*) FROM pgjobq.gate_look WHERE key = 'api'") >= 1


def test_the_chore_passes_by_what_somebody_holds(hand: Hand, dsn: str) -> None:
    """It never waits for another's transaction, and comes back; without that it would."""
    first, second = put(hand, {}, {})
    hand.set_now(LATER)
    with psycopg.connect(dsn) as other:
        other.execute("SELECT pgjobq.cancel(%s)", [first])
        assert expire(hand) == 2
        assert [job for job, *_ in ends(hand)] == [second]
        other.rollback()
    hand.set_now("2030-01-01 00:02:00+00")
    assert expire(hand) == 1
    assert [job for job, *_ in ends(hand)] == [first, second]
    (third,) = put(hand, {})
    with psycopg.connect(dsn) as other:
        hand.sql(doctored(function_text("drop_waiting"), (" FOR UPDATE OF r SKIP LOCKED", " FOR UPDATE OF r")))
        other.execute("SELECT pgjobq.cancel(%s)", [third])
        hand.sql("SET lock_timeout = 200")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            expire(hand)


def test_a_claim_that_is_under_way_has_it(hand: Hand, dsn: str) -> None:
    """Whoever locks the row first: expire() passes by what is being claimed, a claim what is being ended."""
    put(hand, {})
    hand.sql("BEGIN")
    (lease,) = hand.claim()
    with Hand(dsn, lease=10**9) as other:
        other.set_now(LATER)
        assert (expire(other), ends(other)) == (1, [])
        hand.sql("COMMIT")
        hand.complete(lease)
        other.set_now("2030-01-01 00:02:00+00")
        assert expire(other) == 1  # looked at once more, and forgotten
        assert other.value("SELECT count(*) FROM pgjobq.expiry") == 0
        (job,) = put(other, {"expires_at": "2030-01-01 00:02:30+00"})
        other.set_now("2030-01-01 00:03:00+00")
        other.sql("BEGIN")
        assert expire(other) == 1
        assert hand.claim() == []
        other.sql("COMMIT")
        assert ends(other) == [(job, "cancelled", "expired before it started")]


def test_dependents_hear_of_it(hand: Hand, send: Send, queue: Queue) -> None:
    first = send.using(expires=30).enqueue(1)
    second = send.using(depends_on=first).enqueue(2)
    hand.set_now((datetime.now(UTC) + timedelta(minutes=1)).isoformat())
    assert expire(hand) == 1
    hand.say("release", 10)
    found = queue.get(second.id)
    assert found is not None
    assert (found.state, found.reason) == (JobState.CANCELLED, f"depends on job {first.id}, which was cancelled")


def test_a_retry_by_hand_lifts_it(send: Send, queue: Queue, hand: Hand) -> None:
    """Whoever runs it again wants it; one that has time left keeps its limit."""
    jobs = [send.using(expires=30, delay=10).enqueue(n).id for n in (1, 2)]
    queue.cancel(jobs[0])
    queue.retry(jobs[0])
    hand.set_now((datetime.now(UTC) + timedelta(minutes=1)).isoformat())
    assert expire(hand) == 2
    assert hand.value("SELECT count(*) FROM pgjobq.jobs WHERE state = 'cancelled'") == 2
    assert hand.value("SELECT pgjobq.retry($1)", jobs[1])
    assert [(lease.job, lease.version) for lease in hand.claim()] == [(jobs[1], None)]


def test_every_road_takes_it(queue: Queue, hand: Hand) -> None:
    """By name, in bulk, with a unique key and gates, into a schedule; the job says when."""

    @queue.task(gates=[Gate("api", concurrency=2)])
    def gated(order: int) -> None: ...

    @queue.task
    def plain(order: int) -> None: ...

    at = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    ids = [
        queue.enqueue("plain", {"order": 1}, expires=at).id,
        plain.using(expires=timedelta(hours=1), ref="a", tags=["b"]).enqueue(2).id,
        gated.using(expires=3600, unique=Unique(key="k")).enqueue(3).id,
        *queue.enqueue_many([plain.using(expires=3600.5).call(n) for n in (4, 5)]),
    ]
    found = [queue.get(job) for job in ids]
    assert found[0] is not None
    assert found[0].expires_at == at
    assert all(job is not None and job.expires_at is not None and job.expires_at >= at for job in found)
    explanation = queue.explain(ids[1])
    assert explanation is not None
    assert "It expires in 60 min: unless an attempt starts before then, it ends as cancelled." in explanation.sentences
    queue.schedule("hourly", "0 * * * *", plain.using(expires=600).call(1))
    made = queue.run_schedule("hourly")
    assert made is not None
    job = queue.get(made.id)
    assert job is not None
    assert job.expires_at is not None
    assert job.expires_at - job.created_at == timedelta(minutes=10)
    with pytest.raises(ScheduleError, match="no instant as expires="):
        queue.schedule("hourly", "0 * * * *", plain.using(expires=at).call(1))


def test_it_can_be_edited_and_replaced(send: Send, queue: Queue) -> None:
    def expiry(job: int) -> timedelta | None:
        found = queue.get(job)
        assert found is not None
        return found.expires_at and found.expires_at - found.created_at

    job = send.enqueue(1).id
    assert expiry(job) is None
    assert queue.edit(job, expires=60, by="ann")
    first = expiry(job)
    assert first is not None
    assert timedelta(seconds=60) <= first < timedelta(seconds=120)
    (entry,) = [entry for entry in queue.audit() if entry.what == "edit"]
    assert (entry.who, entry.jobs, entry.about["job"], "expires_at" in entry.about) == ("ann", 1, job, True)
    debounce = Unique(key="k", on_conflict="replace")
    held = send.using(unique=debounce, expires=60).enqueue(1).id
    assert send.using(unique=debounce, expires=600).enqueue(2).id == held
    longer = expiry(held)
    assert longer is not None
    assert longer > timedelta(seconds=500)
    assert send.using(unique=debounce).enqueue(3).id == held
    assert expiry(held) is None


def test_what_is_refused(send: Send, hand: Hand) -> None:
    for wrong in (0, -1, "soon", float("nan"), timedelta(0), True):
        with pytest.raises(InvalidOption, match="expires="):
            send.using(expires=wrong)  # type: ignore[arg-type]
    with pytest.raises(NaiveDatetime, match="expires="):
        send.using(expires=datetime(2030, 1, 1))  # noqa: DTZ001
    with pytest.raises(InvalidOption, match="comes before it is due"):
        send.using(expires=5, delay=10)
    at = datetime.now(UTC)
    with pytest.raises(InvalidOption, match="comes before it is due"):
        send.using(expires=at, run_at=at)
    for job in ({"delay": "40 s"}, {"run_at": LATER}, {"run_at": LATER, "expires_at": None, "expires_in": "1 min"}):
        with pytest.raises(psycopg.errors.CheckViolation, match="before it is due"):
            put(hand, job)
    with pytest.raises(psycopg.errors.CheckViolation, match="version is 0"):
        put(hand, {"version": 0})
    with pytest.raises(psycopg.errors.CheckViolation, match="version is 0"):
        hand.sql("SELECT pgjobq.edit(1, version => 0)")
    with pytest.raises(psycopg.errors.CheckViolation, match="version is 32768"):
        hand.sql("SELECT pgjobq.enqueue_alike('send', '{}', version => 32768)")
