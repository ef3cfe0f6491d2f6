"""Races made on purpose: one statement is stopped half-way by a gate while another one runs.

Where a guard matters it is taken out once, in a copy of the statement's text, to show that the test would notice.
"""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from sql.support.gate import Gate, starts
from sql.support.hand import Hand, doctored, impatient, start_one

Hands = Callable[..., Hand]

# --- settle against rescue -------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["complete", "settle"])
def test_rescue_passes_by_what_its_owner_is_settling(hands: Hands, gate: Gate, way: str) -> None:
    owner, saver = hands(), impatient(hands())
    lease = start_one(owner)
    settling = gate.stop(
        owner, "after running", lambda: owner.complete(lease) if way == "complete" else owner.settle_as("s", lease)
    )
    assert saver.rescue([owner.id]) == []
    gate.open()
    assert settling.result() in ([lease.job], [(lease.job, True)])
    assert saver.places() == {lease.job: ("succeeded", 1, None)}
    assert saver.sql("SELECT * FROM pgjobq.attempt_error") == []


def test_without_skip_locked_the_rescue_would_wait(hands: Hands, gate: Gate) -> None:
    owner, saver = hands(), impatient(hands())
    lease = start_one(owner)
    settling = gate.stop(owner, "after running", lambda: owner.complete(lease))
    saver.replaced["rescue"] = doctored(
        saver.text("rescue"), ("ORDER BY r.job FOR UPDATE SKIP LOCKED", "ORDER BY r.job FOR UPDATE")
    )
    with pytest.raises(psycopg.errors.LockNotAvailable):
        saver.rescue([owner.id])
    gate.open()
    settling.result()


@pytest.mark.parametrize("way", ["settle", "complete"])
def test_settle_after_a_rescue_that_has_not_committed(hands: Hands, gate: Gate, way: str) -> None:
    """The owner is not dead after all. settle tells "locked" and asks again; complete waits."""
    owner, saver = hands(), hands()
    lease = start_one(owner)
    rescuing = gate.stop(saver, "after running", lambda: saver.rescue([owner.id]))
    if way == "settle":
        assert owner.settle_as("s", lease) == [(lease.job, False)]
        gate.open()
        rescuing.result()
        assert owner.settle_as("s", lease) == []
    else:
        completing = starts(lambda: owner.complete(lease))
        gate.wait_for(owner, "transactionid")
        gate.open()
        rescuing.result()
        assert completing.result() == []
    assert saver.places() == {lease.job: ("ready", 1, 0)}


def _rescue_with_an_old_snapshot(hands: Hands, gate: Gate, *changes: tuple[str, str]) -> Hand:
    """The rescue's snapshot is taken; then the owner completes and commits; then the rescue goes on."""
    owner, saver = hands(), hands()
    lease = start_one(owner)
    if changes:
        saver.replaced["rescue"] = doctored(saver.text("rescue"), *changes)
    rescuing = gate.stop(saver, "before running", lambda: saver.rescue([owner.id]))
    assert owner.complete(lease) == [lease.job]
    gate.open()
    rescuing.result()
    return saver


def test_rescue_does_not_bring_back_what_was_completed_meanwhile(hands: Hands, gate: Gate) -> None:
    saver = _rescue_with_an_old_snapshot(hands, gate)
    assert [place for place, _, _ in saver.places().values()] == ["succeeded"]


@pytest.mark.lawless("a doctored rescue breaks the law, which is the point")
def test_a_rescue_that_believes_its_snapshot_would(hands: Hands, gate: Gate) -> None:
    """As in the queue whose rescuer overwrote jobs that had just completed."""
    changes = (
        ("FROM held h JOIN pgjobq.job j ON j.id = h.job", "FROM seen h JOIN pgjobq.job j ON j.id = h.job"),
        (
            "), counted AS MATERIALIZED (",
            """), seen AS (
            SELECT job, started_at, worker, attempt, spared, false AS unstarted FROM pgjobq.running
            WHERE worker IN (SELECT id FROM dead)
        ), counted AS MATERIALIZED (""",
        ),
    )
    saver = _rescue_with_an_old_snapshot(hands, gate, *changes)
    assert saver.sql("SELECT places FROM pgjobq.misplaced") == [("finished and ready",)]


def test_two_rescues_at_once_count_one_attempt(hands: Hands, gate: Gate) -> None:
    owner, one, other = hands(), hands(), impatient(hands())
    lease = start_one(owner)
    first = gate.stop(one, "after running", lambda: one.rescue([owner.id]))
    assert other.rescue([owner.id]) == []
    gate.open()
    assert [row[0] for row in first.result()] == [lease.job]
    assert other.rescue([owner.id]) == []
    assert one.places() == {lease.job: ("ready", 1, 0)}
    assert one.value("SELECT count(*) FROM pgjobq.attempt_error") == 1


def test_a_claim_that_was_under_way_when_its_worker_was_buried(hands: Hands, gate: Gate) -> None:
    """The claim saw the worker's row, the rescue has removed it since: what it took belongs to nobody, and is found."""
    owner, saver = hands(), hands()
    job = owner.enqueue()
    claiming = gate.stop(owner, "after ready", owner.claim)
    assert saver.rescue([owner.id]) == []
    gate.open()
    (lease,) = claiming.result()
    assert saver.places() == {job: ("running", 1, 0)}
    assert [row[0] for row in saver.rescue()] == [job]
    assert owner.complete(lease) == []
    assert saver.places() == {job: ("ready", 1, 0)}


def test_a_heartbeat_meets_a_rescue(hands: Hands, gate: Gate) -> None:
    """It waits for the rescue's end and then learns the truth."""
    owner, saver = hands(), hands()
    lease = start_one(owner)
    rescuing = gate.stop(saver, "after running", lambda: saver.rescue([owner.id]))
    beating = starts(owner.beat)
    gate.open()
    rescuing.result()
    assert beating.result() in (False, True)
    assert owner.beat() is False
    assert saver.place(lease.job) == ("ready", 1, 0)


# --- the handler's own transaction -----------------------------------------------------------------------

COMPLETE = "SELECT pgjobq.complete($1, $2, $3)"


@pytest.mark.parametrize("ends", ["COMMIT", "ROLLBACK"])
def test_settle_passes_by_a_completion_that_is_open(hands: Hands, ends: str) -> None:
    """The handler said complete(conn), went on and failed: its outcome arrives while its transaction is open."""
    worker, handler = impatient(hands()), hands(lease=None)
    lease, neighbour = worker.enqueue(), worker.enqueue()
    first, second = worker.claim()
    handler.sql("BEGIN")
    assert handler.value(COMPLETE, lease, 1, worker.id) is True
    outcomes = [{"job": job, "attempt": 1, "fate": "again", "kind": "E", "message": "m"} for job in (lease, neighbour)]
    assert worker.settle(*outcomes) == [(lease, False), (neighbour, True)]
    handler.sql(ends)
    if ends == "COMMIT":
        assert worker.settle(outcomes[0]) == []
        assert worker.place(lease) == ("succeeded", 1, None)
    else:
        assert worker.settle(outcomes[0]) == [(lease, True)]
        assert worker.place(lease) == ("ready", 1, 0)
    assert (first.job, second.job) == (lease, neighbour)


def test_without_skip_locked_the_whole_batch_would_wait(hands: Hands) -> None:
    worker, handler = impatient(hands()), hands(lease=None)
    lease = start_one(worker)
    handler.sql("BEGIN")
    handler.value(COMPLETE, lease.job, 1, worker.id)
    worker.replaced["settle"] = doctored(worker.text("settle"), (" SKIP LOCKED", ""))
    with pytest.raises(psycopg.errors.LockNotAvailable):
        worker.settle_as("s", lease)
    handler.sql("ROLLBACK")


def test_complete_and_rescue_in_the_handlers_transaction(hands: Hands, gate: Gate) -> None:
    """Declared dead before it said complete(conn): it waits, is told no, and has to roll back."""
    owner, saver, handler = hands(), hands(), hands(lease=None)
    lease = start_one(owner)
    rescuing = gate.stop(saver, "after running", lambda: saver.rescue([owner.id]))
    completing = starts(lambda: handler.value(COMPLETE, lease.job, 1, owner.id))
    gate.wait_for(handler, "transactionid")
    gate.open()
    rescuing.result()
    assert completing.result() is False
    assert saver.places() == {lease.job: ("ready", 1, 0)}


# --- the fence -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fate", ["s", "f", "c", "again", "snooze", "blocked", "back"])
@pytest.mark.parametrize("taken", [True, False], ids=["run by another", "waiting again"])
def test_nothing_that_the_dead_report_counts(hands: Hands, fate: str, taken: bool) -> None:
    """Complete, fail, discard, retry, snooze, park, give back, heartbeat, complete(conn), and one more claim."""
    dead, saver = hands(), hands()
    lease = start_one(dead)
    saver.rescue([dead.id])
    if taken:
        assert saver.claim_one().attempt == 2
    before = saver.places()
    told = {"kind": "E", "message": "m"} if fate in ("f", "again") else {}
    more = {"snooze": {"delay": 60, "spare": 1}, "blocked": {"waits_for": "task:x"}, "back": {"back": 1}}.get(fate, {})
    known = fate if fate in ("s", "f", "c", "blocked") else "again"
    assert dead.settle_as(known, lease, **told, **more) == []
    assert dead.complete(lease) == []
    assert dead.value(COMPLETE, lease.job, lease.attempt, dead.id) is False
    assert dead.say("stray", dead.id, []) == []
    assert dead.beat() is False
    neighbour = saver.enqueue()
    assert dead.claim() == []
    assert saver.places() == before | {neighbour: ("ready", 0, 0)}
    assert saver.value("SELECT count(*) FROM pgjobq.attempt_error") == 1, "the rescue's own"


# --- the fence, doctored ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["complete", "settle"])
def test_without_the_fence_the_dead_would_finish_what_others_run(hands: Hands, name: str) -> None:
    dead, saver = hands(), hands()
    lease = start_one(dead)
    saver.rescue([dead.id])
    assert saver.claim_one().attempt == 2
    changes = {
        "complete": [(" AND r.attempt = x.attempt AND r.worker = $3::uuid", "")],
        "settle": [
            (
                "r.job = x.job AND r.attempt = x.attempt AND r.worker = $2::uuid",
                "r.job = x.job AND $2::uuid IS NOT NULL",
            )
        ],
    }
    fenced = dead.complete(lease) if name == "complete" else dead.settle_as("s", lease)
    assert fenced == []
    text = doctored(dead.text(name), *changes[name])
    if name == "settle":
        text = text.replace("r.job = x.job AND r.attempt = x.attempt", "r.job = x.job")
    dead.replaced[name] = text
    unfenced = dead.complete(lease) if name == "complete" else dead.settle_as("s", lease)
    assert unfenced in ([lease.job], [(lease.job, True)])
    assert saver.places()[lease.job][0] == "succeeded", "by one who had lost it: without the fence the guard is gone"
