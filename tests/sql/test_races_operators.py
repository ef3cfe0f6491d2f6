"""Races made on purpose, continued: operators, chores, claims and new lanes; see test_races.py."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from sql.support.gate import Gate, starts
from sql.support.hand import Hand, doctored, function_text, impatient, start_one

Hands = Callable[..., Hand]

# --- operators -------------------------------------------------------------------------------------------


def test_cancel_of_a_job_that_is_being_settled(hands: Hands, gate: Gate) -> None:
    """It runs until the settle commits, so it cannot be cancelled; afterwards it waits, and can."""
    worker, operator = hands(), impatient(hands(lease=None))
    lease = start_one(worker)
    settling = gate.stop(worker, "after running", lambda: worker.settle_as("again", lease, delay=60))
    assert operator.cancel(lease.job) is False
    gate.open()
    settling.result()
    assert operator.cancel(lease.job) is True
    assert operator.places() == {lease.job: ("cancelled", 1, None)}


@pytest.mark.parametrize("state", ["ready", "ready again"])
def test_cancel_during_a_claim(hands: Hands, gate: Gate, state: str) -> None:
    """The claim has the job: the cancel waits for its commit, and then finds it running."""
    worker, operator = hands(), hands(lease=None)
    job = worker.enqueue()
    if state == "ready again":
        worker.settle_as("again", worker.claim_one())
    claiming = gate.stop(worker, "after ready", worker.claim)
    cancelling = starts(lambda: operator.cancel(job))
    gate.wait_for(operator, "transactionid")
    gate.open()
    assert len(claiming.result()) == 1
    assert cancelling.result() is False
    assert operator.place(job)[0] == "running"


@pytest.mark.parametrize("state", ["ready", "ready again"])
def test_claim_during_a_cancel(hands: Hands, gate: Gate, state: str) -> None:
    """The cancel has the job: the claim passes by and takes the next one."""
    worker, operator = impatient(hands()), hands(lease=None)
    job = worker.enqueue()
    if state == "ready again":
        worker.settle_as("again", worker.claim_one())
    neighbour = worker.enqueue()
    cancelling = gate.stop(operator, "after ready", lambda: operator.cancel(job))
    assert [lease.job for lease in worker.claim()] == [neighbour]
    gate.open()
    assert cancelling.result() is True
    assert operator.place(job)[0] == "cancelled"


def _cancel_during_a_promotion(hands: Hands, gate: Gate) -> tuple[bool, Hand]:
    upkeep, operator = hands(), hands(lease=None)
    job = upkeep.enqueue(delay="1 s")
    upkeep.set_now("2999-01-01")
    promoting = gate.stop(upkeep, "after scheduled", upkeep.promote)
    cancelling = starts(lambda: operator.cancel(job))
    gate.wait_for(operator, "transactionid")
    gate.open()
    assert promoting.result() == 1
    return bool(cancelling.result()), operator


def test_cancel_meets_a_job_that_was_promoted_meanwhile(hands: Hands, gate: Gate) -> None:
    told, operator = _cancel_during_a_promotion(hands, gate)
    assert told is True
    assert [place for place, _, _ in operator.places().values()] == ["cancelled"]


def test_a_cancel_that_looks_in_the_other_direction_would_miss_it(hands: Hands, gate: Gate) -> None:
    other_way = doctored(
        function_text("cancel"),
        ("DELETE FROM pgjobq.scheduled s WHERE s.job = cancel.job RETURNING attempt INTO made;", "NULL;"),
        (
            "        EXIT WHEN FOUND;",
            """        IF NOT FOUND THEN
            DELETE FROM pgjobq.scheduled s WHERE s.job = cancel.job RETURNING attempt INTO made;
        END IF;
        EXIT WHEN FOUND;""",
        ),
        ("IF NOT pgjobq.is_waiting(cancel.job) THEN", "IF true THEN"),
    )
    hands(lease=None).sql(other_way)
    told, operator = _cancel_during_a_promotion(hands, gate)
    assert told is False
    assert [place for place, _, _ in operator.places().values()] == ["ready"]


def test_promote_during_a_cancel(hands: Hands, gate: Gate) -> None:
    upkeep, operator = impatient(hands()), hands(lease=None)
    job = upkeep.enqueue(delay="1 s")
    neighbour = upkeep.enqueue(delay="1 s")
    upkeep.set_now("2999-01-01")
    cancelling = gate.stop(operator, "after scheduled", lambda: operator.cancel(job))
    assert upkeep.promote() == 1
    gate.open()
    assert cancelling.result() is True
    places = operator.places()
    assert (places[job][0], places[neighbour][0]) == ("cancelled", "ready")


def test_two_cancels_at_once(hands: Hands, gate: Gate) -> None:
    one, other = hands(lease=None), hands(lease=None)
    job = one.enqueue()
    first = gate.stop(one, "after ready", lambda: one.cancel(job))
    second = starts(lambda: other.cancel(job))
    gate.wait_for(other, "transactionid")
    gate.open()
    assert (first.result(), second.result()) == (True, False)
    assert one.places() == {job: ("cancelled", 0, None)}


def _two_operators_retry(hands: Hands, gate: Gate) -> tuple[bool, bool, Hand]:
    one, other = hands(), hands(lease=None)
    one.settle_as("f", start_one(one), kind="E", message="m")
    job = next(iter(one.places()))
    first = gate.stop(one, "after finished", lambda: one.retry(job))
    second = starts(lambda: other.retry(job))
    gate.wait_for(other, "transactionid")
    gate.open()
    return bool(first.result()), bool(second.result()), one


def test_two_operators_press_retry(hands: Hands, gate: Gate) -> None:
    first, second, hand = _two_operators_retry(hands, gate)
    assert (first, second) == (True, False)
    assert [place for place, _, _ in hand.places().values()] == ["ready"]


def test_retry_of_a_job_that_is_failing_just_now(hands: Hands, gate: Gate) -> None:
    """It has not failed until the settle commits; afterwards it has, and runs again with a fresh budget."""
    worker, operator = hands(), impatient(hands(lease=None))
    lease = start_one(worker)
    failing = gate.stop(worker, "after running", lambda: worker.settle_as("f", lease, kind="E", message="m"))
    assert operator.retry(lease.job) is False
    gate.open()
    failing.result()
    assert operator.retry(lease.job) is True
    assert operator.places() == {lease.job: ("ready", 1, 1)}


def test_cancel_of_a_job_that_is_being_rescued(hands: Hands, gate: Gate) -> None:
    """It runs until the rescue commits; then it waits again, and can be cancelled."""
    owner, saver, operator = hands(), hands(), impatient(hands(lease=None))
    lease = start_one(owner)
    rescuing = gate.stop(saver, "after running", lambda: saver.rescue([owner.id]))
    assert operator.cancel(lease.job) is False
    gate.open()
    rescuing.result()
    assert operator.cancel(lease.job) is True
    assert owner.settle_as("s", lease) == []
    assert operator.places() == {lease.job: ("cancelled", 1, None)}


@pytest.mark.lawless("a doctored retry breaks the law, which is the point")
def test_a_retry_that_looks_before_it_deletes_would_run_the_job_twice(hands: Hands, gate: Gate) -> None:
    looks_first = doctored(
        function_text("retry"),
        ("    IF NOT FOUND THEN\n        RETURN false;\n    END IF;\n", ""),
        (
            "    DELETE FROM pgjobq.finished f USING pgjobq.job j\n",
            """    SELECT f.attempt, j.priority, j.queue, j.gates INTO again
    FROM pgjobq.finished f JOIN pgjobq.job j ON j.id = f.job WHERE f.job = retry.job AND f.outcome <> 's';
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    DELETE FROM pgjobq.finished f USING pgjobq.job j
""",
        ),
        ("RETURNING f.attempt, j.priority, j.queue, j.gates INTO again;", ";"),
    )
    hands(lease=None).sql(looks_first)
    first, second, hand = _two_operators_retry(hands, gate)
    assert (first, second) == (True, True)
    assert hand.sql("SELECT places FROM pgjobq.misplaced") == [("ready and ready",)]


def test_retain_passes_by_a_job_that_is_being_retried(hands: Hands, gate: Gate) -> None:
    operator, upkeep = hands(), impatient(hands())
    operator.settle_as("f", start_one(operator), kind="E", message="m")
    job = next(iter(operator.places()))
    upkeep.set_now("2999-01-01")
    retrying = gate.stop(operator, "after finished", lambda: operator.retry(job))
    assert upkeep.retain(1000, 1.0, 1.0) == 0
    gate.open()
    assert retrying.result() is True
    assert operator.places() == {job: ("ready", 1, 1)}
    assert upkeep.value("SELECT count(*) FROM pgjobq.attempt_error") == 1


def test_retry_of_a_job_that_is_being_forgotten(hands: Hands, gate: Gate) -> None:
    operator, upkeep = hands(), hands()
    operator.settle_as("f", start_one(operator), kind="E", message="m")
    job = next(iter(operator.places()))
    upkeep.set_now("2999-01-01")
    forgetting = gate.stop(upkeep, "after finished", lambda: upkeep.retain(1000, 1.0, 1.0))
    retrying = starts(lambda: operator.retry(job))
    gate.wait_for(operator, "transactionid")
    gate.open()
    assert forgetting.result() == 1
    assert retrying.result() is False
    assert operator.places() == {}


# --- chores and claims -----------------------------------------------------------------------------------


def test_two_promotions_at_once_share_without_waiting(hands: Hands, gate: Gate) -> None:
    one, other = hands(), impatient(hands())
    jobs = [one.enqueue(delay="1 s") for _ in range(4)]
    for hand in (one, other):
        hand.set_now("2999-01-01")
    first = gate.stop(one, "after scheduled", lambda: one.promote(2))
    assert other.promote() == 0, "somebody does it: the chore's lock says so"
    gate.open()
    assert first.result() == 2
    assert other.promote() == 2
    assert sorted(one.places()) == jobs
    assert {place for place, _, _ in one.places().values()} == {"ready"}


def test_two_promotions_do_no_harm_even_without_the_chores_lock(hands: Hands, gate: Gate) -> None:
    one, other = hands(), impatient(hands())
    for _ in range(4):
        one.enqueue(delay="1 s")
    for hand in (one, other):
        hand.set_now("2999-01-01")
        hand.replaced["promote"] = doctored(
            hand.text("promote"), ("pg_try_advisory_xact_lock(hashtextextended('pgjobq:promote', 0))", "true")
        )
    first = gate.stop(one, "after scheduled", lambda: one.promote(2))
    assert other.promote() == 2
    gate.open()
    assert first.result() == 2
    assert {place for place, _, _ in one.places().values()} == {"ready"}


def test_two_retentions_at_once(hands: Hands, gate: Gate) -> None:
    one, other = hands(), impatient(hands())
    for _ in range(3):
        one.enqueue()
    one.complete(*one.claim())
    for hand in (one, other):
        hand.set_now("2999-01-01")
    first = gate.stop(one, "after finished", lambda: one.retain(1000, 1.0, 1.0))
    assert other.retain(1000, 1.0, 1.0) == 0
    gate.open()
    assert first.result() == 3


def test_two_claims_are_disjoint_and_never_wait(hands: Hands, gate: Gate) -> None:
    one, other = hands(), impatient(hands())
    jobs = [one.enqueue() for _ in range(6)]
    first = gate.stop(one, "after ready", lambda: one.claim(3))
    assert [lease.job for lease in other.claim(2)] == jobs[3:5]
    gate.open()
    assert [lease.job for lease in first.result()] == jobs[:3]
    assert [lease.job for lease in other.claim()] == jobs[5:]


def test_a_claim_with_an_old_snapshot_takes_nothing_twice(hands: Hands, gate: Gate) -> None:
    one, other = hands(), hands()
    jobs = [one.enqueue() for _ in range(4)]
    first = gate.stop(one, "before ready", lambda: one.claim(3))
    assert [lease.job for lease in other.claim(2)] == jobs[:2]
    gate.open()
    assert [lease.job for lease in first.result()] == jobs[2:]


def test_without_skip_locked_claims_would_wait(hands: Hands, gate: Gate) -> None:
    one, other = hands(), impatient(hands())
    one.enqueue()
    first = gate.stop(one, "after ready", one.claim)
    other.replaced["claim"] = doctored(other.text("claim"), ("FOR UPDATE SKIP LOCKED", "FOR UPDATE"))
    with pytest.raises(psycopg.errors.LockNotAvailable):
        other.claim()
    gate.open()
    first.result()


def test_two_adoptions_are_disjoint(hands: Hands, gate: Gate) -> None:
    one, other = hands(), impatient(hands())
    jobs = [one.enqueue() for _ in range(4)]
    one.settle(
        *(
            {"job": lease.job, "attempt": 1, "fate": "blocked", "back": 1, "waits_for": "task:send"}
            for lease in one.claim()
        )
    )
    first = gate.stop(one, "after blocked", lambda: one.adopt(["send"], None, 2))
    assert [lease.job for lease in other.adopt(["send"])] == jobs[2:]
    gate.open()
    assert [lease.job for lease in first.result()] == jobs[:2]


# --- opening a lane --------------------------------------------------------------------------------------


def _two_open_a_lane(hands: Hands, way: str) -> tuple[Hand, list[int]]:
    one, other = hands(), impatient(hands())
    one.sql("BEGIN")
    ids = [one.enqueue(queue="new")]
    ids += [other.enqueue(queue="new")] if way == "enqueue" else other.enqueue_many([{"task": "send", "queue": "new"}])
    assert [lease.job for lease in other.claim()] == ids[1:]
    one.sql("COMMIT")
    return other, ids


@pytest.mark.parametrize("way", ["enqueue", "enqueue_many"])
def test_two_transactions_open_a_lane_and_neither_waits(hands: Hands, way: str) -> None:
    hand, ids = _two_open_a_lane(hands, way)
    assert hand.lanes() == [("new", 0)]
    assert [lease.job for lease in hand.claim()] == ids[:1]
    hand.say("tidy_lanes")
    assert hand.value("SELECT count(*) FROM pgjobq.lane") == 1


def test_with_a_unique_lane_the_second_would_wait(hands: Hands) -> None:
    hands(lease=None).sql("CREATE UNIQUE INDEX one_lane ON pgjobq.lane (queue, priority)")
    with pytest.raises(psycopg.errors.LockNotAvailable):
        _two_open_a_lane(hands, "enqueue")


def test_a_lane_opened_by_a_transaction_that_rolls_back(hands: Hands) -> None:
    """The other one saw it? It cannot have: it opens the lane itself."""
    one, other = hands(), hands()
    one.sql("BEGIN")
    one.enqueue(queue="new")
    job = other.enqueue(queue="new")
    one.sql("ROLLBACK")
    assert other.claim_one().job == job
