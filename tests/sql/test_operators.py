"""retry, cancel and complete from every state a job can be in."""

from __future__ import annotations

import pytest

from sql.support.hand import Hand

NOON = "2030-01-01 12:00:00+00"


def later(seconds: float) -> str:
    """A text for the virtual clock."""
    return f"2030-01-01 {12 + int(seconds // 3600):02}:{int(seconds % 3600 // 60):02}:{seconds % 60:09.6f}+00"


# --- retry, cancel, by state -----------------------------------------------------------------------------

STATES = [
    "scheduled",
    "retry",
    "ready",
    "ready again",
    "blocked",
    "running",
    "succeeded",
    "failed",
    "cancelled",
    "nowhere",
]


def _job_in(hand: Hand, state: str) -> int:
    if state == "nowhere":
        return 4711
    job = hand.enqueue(delay="1 hour" if state == "scheduled" else None)
    if state in ("scheduled", "ready"):
        return job
    lease = hand.claim_one()
    fates = {
        "retry": ("again", {"delay": 60}),
        "ready again": ("again", {}),
        "blocked": ("blocked", {"waits_for": "task:x"}),
        "succeeded": ("s", {}),
        "failed": ("f", {"kind": "E", "message": "m"}),
        "cancelled": ("c", {}),
    }
    if state in fates:
        fate, more = fates[state]
        hand.settle_as(fate, lease, **more)
    return job


@pytest.mark.parametrize("state", STATES)
def test_cancel(hand: Hand, state: str) -> None:
    job = _job_in(hand, state)
    before = hand.places()
    waits = state in ("scheduled", "retry", "ready", "ready again", "blocked")
    assert hand.cancel(job) is waits
    assert hand.cancel(job) is False
    assert hand.places() == ({job: ("cancelled", before[job][1], None)} if waits else before)


@pytest.mark.parametrize("state", STATES)
def test_retry(hand: Hand, state: str) -> None:
    job = _job_in(hand, state)
    before = hand.places()
    ended = state in ("failed", "cancelled")
    assert hand.retry(job) is ended
    assert hand.retry(job) is False
    assert hand.places() == ({job: ("ready", 1, 1)} if ended else before)
    if ended:
        lease = hand.claim_one()
        assert (lease.attempt, lease.spared) == (2, 1)


def test_a_cancelled_job_that_never_ran_is_retried(hand: Hand) -> None:
    job = hand.enqueue(delay="1 hour", queue="mail", priority=3)
    assert hand.cancel(job)
    assert hand.sql("SELECT started_at, worker, reason FROM pgjobq.finished") == [
        (None, None, "cancelled while it waited")
    ]
    assert hand.retry(job)
    lease = hand.claim_one()
    assert (lease.job, lease.queue, lease.priority, lease.attempt) == (job, "mail", 3, 1)


def test_complete_function(hand: Hand) -> None:
    job = hand.enqueue()
    lease = hand.claim_one()
    assert hand.value("SELECT pgjobq.complete($1, $2, $3, '[1]')", job, lease.attempt, hand.id) is True
    assert hand.sql("SELECT outcome, attempt, worker, result FROM pgjobq.finished") == [("s", 1, hand.id, [1])]
    assert hand.value("SELECT pgjobq.complete($1, $2, $3)", job, lease.attempt, hand.id) is False
