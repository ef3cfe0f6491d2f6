"""Claim, settle, adopt, as tables of before and after; `Hand.places` checks the conservation law each time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sql.support.hand import Hand

NOON = "2030-01-01 12:00:00+00"


def later(seconds: float) -> str:
    """A text for the virtual clock."""
    return f"2030-01-01 {12 + int(seconds // 3600):02}:{int(seconds % 3600 // 60):02}:{seconds % 60:09.6f}+00"


# --- claim -----------------------------------------------------------------------------------------------


def test_claim_leases_and_tells_everything(hand: Hand) -> None:
    hand.set_now(NOON)
    job = hand.enqueue(
        "send", args={"n": 1}, queue="mail", priority=-3, ref="r", tags=["t"], headers={"h": "x"}, max_attempts=4
    )
    lease = hand.claim_one()
    assert (lease.job, lease.seq, lease.queue, lease.priority, lease.attempt, lease.spared) == (
        job,
        job,
        "mail",
        -3,
        1,
        0,
    )
    assert (lease.task, lease.args, lease.ref, lease.tags, lease.headers) == (
        "send",
        '{"n": 1}',
        "r",
        ["t"],
        '{"h": "x"}',
    )
    assert (lease.max_attempts, lease.enqueued_at) == (4, 1_893_499_200.0)
    assert hand.places() == {job: ("running", 1, 0)}
    assert hand.sql("SELECT worker, started_at = $1::text::timestamptz FROM pgjobq.running", NOON) == [(hand.id, True)]


def test_claim_of_nothing_still_tells_the_snapshot(hand: Hand) -> None:
    claimed = hand.look(10, [("default", 0)], [0])
    assert claimed.leases == []
    assert claimed.xmin > 0
    assert claimed.xid is None, "an empty look costs no transaction id"
    assert 0 <= claimed.seconds < 10
    assert hand.look(10, [], []).leases == []


def test_claim_tells_its_transactions_own_id(hand: Hand) -> None:
    hand.enqueue()
    with hand.conn.transaction():
        claimed = hand.look(10, [("default", 0)], [0])
        assert claimed.xid == hand.value("SELECT pg_current_xact_id()::text::bigint")
        assert claimed.xmin <= claimed.xid
        assert hand.look(10, [("default", 0)], [0]).xid == claimed.xid


def test_claim_goes_by_priority_then_age(hand: Hand) -> None:
    low, first, high, second = (hand.enqueue(priority=priority) for priority in (5, 0, -5, 0))
    assert [lease.job for lease in hand.claim()] == [high, first, second, low]


def test_claim_is_limited_over_all_lanes(hand: Hand) -> None:
    jobs = [hand.enqueue(queue=queue, priority=priority) for priority in (0, 1) for queue in "ab" for _ in range(3)]
    assert [lease.job for lease in hand.claim(4)] == jobs[:4]
    assert [lease.job for lease in hand.claim(4)] == jobs[4:8]
    assert [lease.job for lease in hand.claim(10)] == jobs[8:]


def test_claim_looks_only_at_its_queues_and_above_its_cursor(hand: Hand) -> None:
    _, mine, above = hand.enqueue(queue="other"), hand.enqueue(queue="mine"), hand.enqueue(queue="mine")
    assert [lease.job for lease in hand.look(10, [("mine", 0)], [mine]).leases] == [above]
    assert [lease.job for lease in hand.claim(queues=["mine"])] == [mine]


def test_a_worker_that_was_declared_dead_claims_and_adopts_nothing(hands: Callable[..., Hand]) -> None:
    dead, other = hands(), hands()
    parked = dead.enqueue("unknown")
    dead.settle_as("blocked", dead.claim_one(), back=1, waits_for="task:unknown")
    job = dead.enqueue()
    other.rescue([dead.id])
    assert not dead.beat()
    assert dead.claim() == []
    assert other.place(job) == ("ready", 0, 0)
    assert dead.adopt(["unknown"]) == []
    assert other.place(parked)[0] == "blocked"


# --- settle, by fate -------------------------------------------------------------------------------------

FATES: list[tuple[str, dict[str, Any], tuple[str, int, int | None]]] = [
    ("s", {}, ("succeeded", 1, None)),
    ("s", {"result": {"n": [1, None]}}, ("succeeded", 1, None)),
    ("f", {"kind": "ValueError", "message": "bad", "traceback": "tb"}, ("failed", 1, None)),
    ("c", {"reason": "not wanted"}, ("cancelled", 1, None)),
    ("again", {}, ("ready", 1, 0)),
    ("again", {"kind": "E", "message": "m"}, ("ready", 1, 0)),
    ("again", {"delay": 30.5}, ("scheduled", 1, 0)),
    ("again", {"delay": 0}, ("ready", 1, 0)),
    ("again", {"delay": -1}, ("ready", 1, 0)),
    ("again", {"delay": 5, "spare": 1}, ("scheduled", 1, 1)),
    ("again", {"back": 1}, ("ready", 0, 0)),
    ("blocked", {"back": 1, "waits_for": "task:x"}, ("blocked", 0, 0)),
    ("blocked", {"waits_for": "task:x"}, ("blocked", 1, 0)),
]


@pytest.mark.parametrize(("fate", "more", "after"), FATES, ids=lambda value: str(value)[:40])
def test_settle(hand: Hand, fate: str, more: dict[str, Any], after: tuple[str, int, int | None]) -> None:
    hand.set_now(NOON)
    job = hand.enqueue(queue="mail", priority=2)
    lease = hand.claim_one()
    hand.set_now(later(7))
    assert hand.settle_as(fate, lease, **more) == [(job, True)]
    assert hand.places() == {job: after}
    errors = hand.sql(
        "SELECT job, attempt, worker, kind, message, traceback, failed_at - started_at = '7 s'"
        " FROM pgjobq.attempt_error"
    )
    expected = (
        [(job, 1, hand.id, more["kind"], more["message"], more.get("traceback", ""), True)] if "kind" in more else []
    )
    assert errors == expected
    if after[0] in ("ready", "scheduled", "blocked"):
        assert hand.sql(f"SELECT queue, priority FROM pgjobq.{after[0]}") == [("mail", 2)]
    else:
        ended = hand.sql("SELECT worker, finished_at - started_at = '7 s', result, reason FROM pgjobq.finished")
        assert ended == [(hand.id, True, more.get("result"), more.get("reason"))]
    if after[0] == "scheduled":
        assert (
            hand.value("SELECT extract(epoch FROM run_at - pgjobq.clock())::float8 FROM pgjobq.scheduled")
            == more["delay"]
        )
    assert hand.settle_as(fate, lease, **more) == [], "a second time it is not held any more"
    assert hand.places() == {job: after}


def test_settle_of_many_fates_at_once(hand: Hand) -> None:
    jobs = [hand.enqueue() for _ in FATES]
    leases = hand.claim()
    outcomes = [
        {"job": lease.job, "attempt": 1, "fate": fate, **more}
        for lease, (fate, more, _) in zip(leases, FATES, strict=True)
    ]
    assert hand.settle(*outcomes) == [(job, True) for job in jobs]
    assert hand.places() == {job: after for job, (_, _, after) in zip(jobs, FATES, strict=True)}


def test_settle_of_nothing(hand: Hand) -> None:
    assert hand.settle() == []
    assert hand.complete() == []


def test_what_becomes_ready_again_draws_a_new_number(hand: Hand) -> None:
    job = hand.enqueue()
    lease = hand.claim_one()
    newer = hand.enqueue()
    hand.settle_as("again", lease)
    again = {lease.job: lease.seq for lease in hand.claim()}
    assert again[job] > again[newer] == newer


def test_complete_in_bulk(hand: Hand) -> None:
    jobs = hand.enqueue_many([{"task": "send"}] * 100)
    leases = hand.claim(100)
    assert hand.complete(*leases) == jobs
    assert hand.complete(*leases) == []
    assert set(hand.places().values()) == {("succeeded", 1, None)}


@pytest.mark.parametrize("way", ["complete", "settle", "function"])
@pytest.mark.parametrize("wrong", ["worker", "attempt", "job"])
def test_the_fence(hands: Callable[..., Hand], way: str, wrong: str) -> None:
    """Who does not name the job, the attempt and the worker changes nothing."""
    owner, other = hands(), hands()
    job = owner.enqueue()
    lease = owner.claim_one()
    if wrong == "attempt":
        owner.settle_as("again", lease)
        assert owner.claim_one().attempt == 2
    before = owner.places()
    teller = other if wrong == "worker" else owner
    lease.job += 1000 if wrong == "job" else 0
    if way == "complete":
        assert teller.complete(lease) == []
    elif way == "settle":
        for fate in ("s", "f", "c", "again", "blocked"):
            assert teller.settle_as(fate, lease, kind="E", message="m", waits_for="x") == []
    else:
        assert teller.value("SELECT pgjobq.complete($1, $2, $3)", lease.job, lease.attempt, teller.id) is False
    assert owner.places() == before
    assert owner.sql("SELECT * FROM pgjobq.attempt_error") == []
    assert job in before


def test_a_stale_attempt_in_the_same_batch_does_not_decide(hand: Hand) -> None:
    """The worker held the job twice: both outcomes travel in one settle, and only the second attempt's counts."""
    job = hand.enqueue()
    stale = hand.claim_one()
    hand.settle_as("again", stale)
    fresh = hand.claim_one()
    old = {"job": job, "attempt": stale.attempt, "fate": "f", "kind": "Stale", "message": "of the first attempt"}
    new = {"job": job, "attempt": fresh.attempt, "fate": "s"}
    with hand.conn.transaction(force_rollback=True):
        assert hand.settle(new, old) == [(job, True)]
        assert hand.place(job) == ("succeeded", 2, None)
    assert hand.settle(old, new) == [(job, True)]
    assert hand.places() == {job: ("succeeded", 2, None)}
    assert hand.sql("SELECT kind FROM pgjobq.attempt_error") == []


@pytest.mark.parametrize("fate", ["again", "s"])
def test_one_outcome_twice_in_a_batch(hand: Hand, fate: str) -> None:
    job = hand.enqueue()
    one = {"job": job, "attempt": hand.claim_one().attempt, "fate": fate, "kind": "E", "message": "m"}
    assert hand.settle(one, one) == [(job, True)]
    assert hand.value("SELECT count(*) FROM pgjobq.attempt_error") == 1
    assert list(hand.places()) == [job]


def test_a_job_that_snoozes_for_ever_stops_nobody(hand: Hand) -> None:
    """`attempt` only grows: a Snooze every 30 s for 12 days must not break the claim of the job's neighbours."""
    old, young = hand.enqueue(), hand.enqueue()
    hand.sql("UPDATE pgjobq.ready SET attempt = 32767, spared = 32767 WHERE job = $1", old)
    assert young in [lease.job for lease in hand.claim()]


# --- adopt -----------------------------------------------------------------------------------------------


def _park(hand: Hand, task: str, **options: Any) -> int:
    job = hand.enqueue(task, **options)
    lease = next(lease for lease in hand.claim() if lease.job == job)
    hand.settle_as("blocked", lease, back=1, waits_for=f"task:{task}")
    return job


def test_adopt_takes_what_it_knows_from_its_queues(hands: Callable[..., Hand]) -> None:
    hand, other = hands(), hands()
    mine, low, elsewhere, unknown = (
        _park(hand, "mine"),
        _park(hand, "mine", priority=9),
        _park(hand, "mine", queue="other"),
        _park(hand, "unknown"),
    )
    assert hand.adopt([]) == []
    assert hand.adopt(["min", "mine:", "task:mine"]) == []
    assert [lease.job for lease in other.adopt(["mine"], ["default"], 1)] == [mine]
    assert [(lease.job, lease.attempt, lease.task) for lease in other.adopt(["mine", "x"], ["default"])] == [
        (low, 1, "mine")
    ]
    assert hand.places() == {
        mine: ("running", 1, 0),
        low: ("running", 1, 0),
        elsewhere: ("blocked", 0, 0),
        unknown: ("blocked", 0, 0),
    }
    assert [lease.job for lease in hand.adopt(["mine"])] == [elsewhere]
    assert hand.value("SELECT worker FROM pgjobq.running WHERE job = $1", elsewhere) == hand.id
