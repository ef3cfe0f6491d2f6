"""Gates, driven by hand: who is let through, when a place is given away, and who waits for nobody."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import errors as pg

from pgjobq.engine.lease import Lease
from sql.support.hand import Hand, doctored
from support.locks import lock_waiters
from support.waiting import eventually

ONE = [{"key": "api", "concurrency": 1}]
TWO = [{"key": "api", "concurrency": 2}]
LINE = [{"key": "line", "order": "fifo"}]
LOOSE = [{"key": "line", "order": "fifo", "on_failure": "pass"}]


def put(hand: Hand, gates: list[dict[str, Any]] | None, count: int = 1, **keys: Any) -> list[int]:
    """Enqueue so many jobs with these gates."""
    jobs = [{"task": "send", "gates": gates, **keys}] * count
    return [job for (job,) in hand.sql("SELECT * FROM pgjobq.enqueue_many($1::text::jsonb)", json.dumps(jobs))]


def look(hand: Hand) -> None:
    """What upkeep does."""
    hand.say("look_at_gates", 100)


def settle(hand: Hand, fate: str, lease: Lease, **more: Any) -> None:
    """What a worker does with a job that has hooks: one transaction."""
    assert lease.hooks == 1
    with hand.conn.transaction():
        assert hand.settle_as(fate, lease, **more) == [(lease.job, True)]
        hand.say("after", [lease.job])


def jobs_of(leases: list[Lease]) -> list[int]:
    return sorted(lease.job for lease in leases)


def state(hand: Hand, job: int) -> str:
    return str(hand.value("SELECT state FROM pgjobq.jobs WHERE id = $1", job))


def test_no_more_are_let_through_than_there_are_places(hand: Hand) -> None:
    jobs = put(hand, TWO, 5)
    assert hand.claim() == []
    look(hand)
    assert jobs_of(hand.claim()) == jobs[:2]
    look(hand)
    assert hand.claim() == []
    assert state(hand, jobs[2]) == "blocked"
    assert hand.value("SELECT reason FROM pgjobq.jobs WHERE id = $1", jobs[2]) == "waits for gate:api"


@pytest.mark.parametrize("fate", ["s", "f", "c"])
def test_the_place_that_became_free_is_given_away_in_the_same_transaction(hand: Hand, fate: str) -> None:
    jobs = put(hand, ONE, 3)
    look(hand)
    settle(hand, fate, hand.claim_one())
    assert hand.claim_one().job == jobs[1]


def test_a_retry_frees_its_place_and_comes_through_the_gate_again(hand: Hand) -> None:
    first, second = put(hand, ONE, 2)
    look(hand)
    settle(hand, "again", hand.claim_one(), delay=0.001)
    assert hand.claim_one().job == second
    hand.sql("SELECT pg_sleep(0.01)")
    hand.promote()
    look(hand)
    assert state(hand, first) == "blocked"


@pytest.mark.parametrize("delay", [None, 0.001])
def test_a_retry_that_holds_its_place_in_line_is_overtaken_by_nobody(hand: Hand, delay: float | None) -> None:
    first, second = put(hand, LINE, 2)
    look(hand)
    settle(hand, "again", hand.claim_one(), delay=delay)
    look(hand)
    if delay:
        assert hand.claim() == []
        hand.sql("SELECT pg_sleep(0.01)")
        hand.promote()
    lease = hand.claim_one()
    assert lease.job == first
    settle(hand, "s", lease)
    assert hand.claim_one().job == second


def test_a_retry_that_lets_the_next_one_pass(hand: Hand) -> None:
    first, second = put(hand, LOOSE, 2)
    look(hand)
    settle(hand, "again", hand.claim_one(), delay=0.001)
    lease = hand.claim_one()
    assert lease.job == second
    hand.sql("SELECT pg_sleep(0.01)")
    hand.promote()
    look(hand)
    settle(hand, "s", lease)
    assert hand.claim_one().job == first


def test_an_order_goes_by_age_and_a_limit_by_priority(hand: Hand) -> None:
    for gates, expected in ((LINE, [5, 0]), (ONE, [0, 5])):
        jobs = {5: put(hand, gates, priority=5)[0], 0: put(hand, gates, priority=0)[0]}
        look(hand)
        found = []
        for _ in jobs:
            lease = hand.claim_one()
            found.append(lease.priority)
            settle(hand, "s", lease)
        assert found == expected


def test_two_gates_let_a_job_through_together_or_not_at_all(hand: Hand) -> None:
    both = [{"key": "a", "concurrency": 1}, {"key": "b", "concurrency": 1}]
    (holds_b,) = put(hand, both[1:])
    look(hand)
    (waits,) = put(hand, both)
    look(hand)
    (free,) = put(hand, both[:1])
    look(hand)
    leases = {lease.job: lease for lease in hand.claim()}
    assert set(leases) == {holds_b, free}, "a job that waits for b takes no place at a"
    settle(hand, "s", leases[holds_b])
    assert hand.claim() == [], "a is not free"
    settle(hand, "s", leases[free])
    assert hand.claim_one().job == waits


def test_what_a_dead_worker_held_frees_its_place(hands: Callable[..., Hand]) -> None:
    dead, saver = hands(), hands()
    first, second = put(saver, ONE, 2)
    look(saver)
    assert dead.claim_one().job == first
    saver.rescue([dead.id])
    look(saver)
    assert len(saver.claim()) == 1
    look(saver)
    assert saver.claim() == []
    assert {state(saver, first), state(saver, second)} == {"running", "blocked"}


def test_a_parked_job_keeps_its_place(hand: Hand) -> None:
    """It will go straight from `blocked` to `running`."""
    first, _ = put(hand, ONE, 2)
    look(hand)
    settle(hand, "blocked", hand.claim_one(), waits_for="task:send", back=1)
    look(hand)
    assert hand.claim() == []
    (lease,) = hand.adopt(["send"])
    assert (lease.job, lease.hooks) == (first, 1)


def test_delay_retry_by_hand_and_strays_go_through_the_gate(hand: Hand) -> None:
    (first,) = put(hand, ONE)
    look(hand)
    (late,) = put(hand, ONE, delay="0.001 seconds")
    hand.sql("SELECT pg_sleep(0.01)")
    hand.promote()
    look(hand)
    assert state(hand, late) == "blocked"
    settle(hand, "f", hand.claim_one())
    assert hand.claim_one().job == late
    assert hand.value("SELECT pgjobq.retry($1)", first)
    look(hand)
    assert state(hand, first) == "blocked"
    assert [job for (job,) in hand.say("stray", hand.id, [])] == [late]
    assert state(hand, late) == "blocked"
    look(hand)
    assert hand.claim_one().job == first


def test_cancelling_a_job_that_was_let_through_frees_its_place(hand: Hand) -> None:
    first, second = put(hand, ONE, 2)
    look(hand)
    assert state(hand, first) == "ready"
    assert hand.value("SELECT pgjobq.cancel($1)", first)
    look(hand)
    assert hand.claim_one().job == second


def test_a_limit_set_by_hand_counts_for_a_key_or_for_a_name(hand: Hand) -> None:
    gates = [{"key": "merchant:1", "name": "merchant:{id}", "concurrency": 1}]
    put(hand, gates, 6)
    look(hand)
    first = hand.claim()
    hand.sql("SELECT pgjobq.set_gate('merchant:{id}', 3)")
    look(hand)
    assert len(first + hand.claim()) == 3
    hand.sql("SELECT pgjobq.set_gate('merchant:1', 4)")
    look(hand)
    assert len(hand.claim()) == 1
    hand.sql("SELECT pgjobq.set_gate('merchant:1', 0)")
    settle(hand, "s", first[0])
    assert hand.claim() == []
    assert hand.value("SELECT pgjobq.unset_gate('merchant:1')")
    assert not hand.value("SELECT pgjobq.unset_gate('merchant:1')")


def test_an_open_transaction_of_an_enqueuer_blocks_nobody(hand: Hand, dsn: str) -> None:
    with psycopg.connect(dsn) as held:
        held.execute("SELECT pgjobq.enqueue_many(%s)", [json.dumps([{"task": "send", "gates": ONE}] * 3)])
        jobs = put(hand, ONE, 2)
        hand.sql("SET lock_timeout = '5s'")
        look(hand)
        lease = hand.claim_one()
        assert lease.job == jobs[0]
        settle(hand, "s", lease)
        assert hand.claim_one().job == jobs[1]


def test_an_open_transaction_that_completes_or_cancels_blocks_nobody_either(hand: Hand, dsn: str) -> None:
    jobs = put(hand, TWO, 4)
    look(hand)
    mine, other = hand.claim()
    with psycopg.connect(dsn) as held:
        held.execute("SELECT pgjobq.complete(%s, %s, %s)", [mine.job, mine.attempt, hand.id])
        held.execute("SELECT pgjobq.cancel(%s)", [jobs[2]])
        hand.sql("SET lock_timeout = '5s'")
        settle(hand, "s", other)
        assert hand.claim_one().job == jobs[3], (
            "the job being cancelled is passed by; the one completing holds its place"
        )
    hand.sql("SELECT pgjobq.sweep_gates()")
    look(hand)


@pytest.mark.parametrize("delay", ["0", "0.001 seconds"])
@pytest.mark.parametrize("gates", [ONE, LINE])
def test_a_job_that_is_edited_comes_to_its_gates_anew(hand: Hand, gates: list[dict[str, Any]], delay: str) -> None:
    first, second = put(hand, gates, 2)
    look(hand)
    assert state(hand, first) == "ready"
    assert hand.value("SELECT pgjobq.edit($1, delay => $2::text::interval)", first, delay)
    hand.sql("SELECT pg_sleep(0.01)")
    hand.promote()
    look(hand)
    lease = hand.claim_one()
    settle(hand, "again", lease, delay=60)
    look(hand)
    for other in (first, second):
        if state(hand, other) == "scheduled":
            assert hand.value("SELECT pgjobq.edit($1, delay => '0')", other)
    look(hand)
    done = []
    for _ in range(2):
        lease = hand.claim_one()
        done.append(lease.job)
        settle(hand, "s", lease)
    assert sorted(done) == [first, second]


def test_jobs_without_gates_leave_no_trace(hand: Hand) -> None:
    put(hand, None, 3)
    (lease, *_) = hand.claim()
    assert lease.hooks is None
    assert hand.sql("SELECT FROM pgjobq.gate_look UNION ALL SELECT FROM pgjobq.gate_pass") == []


@pytest.mark.parametrize(
    ("gates", "says"),
    [
        ("x", "gates is no array"),
        ({}, "gates is no array"),
        (["x"], "gates holds a JSON string"),
        ([{"concurrency": 1}], "the key of a gate has 0 characters"),
        ([{"key": "k" * 256, "concurrency": 1}], "the key of a gate has 256 characters"),
        ([{"key": "a"}], "limits nothing"),
        ([{"key": "a", "concurrency": 0}], "the concurrency of a gate is 0"),
        ([{"key": "a", "concurrency": "many"}], "the concurrency of a gate is many"),
        ([{"key": "a", "order": "lifo"}], "the order of a gate is 'lifo'"),
        ([{"key": "a", "order": "fifo", "on_failure": "weep"}], "on_failure of a gate is 'weep'"),
        ([{"key": "a", "limit": 1}], "a gate has no key 'limit'"),
        ([{"key": "a", "concurrency": 1}] * 2, "the gate 'a' is named twice"),
    ],
)
def test_what_is_wrong_is_refused_with_the_value(hand: Hand, gates: Any, says: str) -> None:
    with pytest.raises(pg.CheckViolation, match=says):
        put(hand, gates)


@pytest.mark.parametrize("guarded", [True, False])
def test_two_that_look_at_once_never_give_the_same_place_away(
    hand: Hand, hands: Callable[..., Hand], guarded: bool
) -> None:
    """And without the key's lock they do: the lock is what the limit rests on."""
    if not guarded:
        body = hand.value("SELECT pg_get_functiondef('pgjobq.admit'::regproc)")
        hand.sql(doctored(body, ("PERFORM pg_advisory_xact_lock(number);", "NULL;")))
    one, other = hands(), hands()
    put(hand, ONE, 2)
    done = threading.Event()

    def look_too() -> None:
        hand.sql("INSERT INTO pgjobq.gate_look VALUES ('api')")
        look(other)
        done.set()

    thread = threading.Thread(target=look_too)
    with one.conn.transaction():
        look(one)
        thread.start()
        if guarded:
            eventually(lambda: lock_waiters(hand.conn.info.dsn, "advisory"))
        else:
            assert done.wait(30), "nothing to wait for"
    thread.join(30)
    assert len(hand.claim()) == (1 if guarded else 2)
