"""Promote, rescue, retain and the other chores, as tables of before and after, the law checked each time."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from sql.support.hand import Hand

NOON = "2030-01-01 12:00:00+00"


def later(seconds: float) -> str:
    """A text for the virtual clock."""
    return f"2030-01-01 {12 + int(seconds // 3600):02}:{int(seconds % 3600 // 60):02}:{seconds % 60:09.6f}+00"


# --- promote, next_due -----------------------------------------------------------------------------------


def test_promote_moves_what_is_due_and_nothing_else(hand: Hand) -> None:
    hand.set_now(NOON)
    soon, late, urgent = hand.enqueue(delay="10 s"), hand.enqueue(delay="20 s"), hand.enqueue(delay="10 s", priority=-1)
    assert hand.promote() == 0
    hand.set_now(later(9.999999))
    assert hand.promote() == 0
    hand.set_now(later(10))
    assert hand.promote() == 2
    assert hand.places() == {soon: ("ready", 0, 0), late: ("scheduled", 0, 0), urgent: ("ready", 0, 0)}
    assert [lease.job for lease in hand.claim()] == [urgent, soon]
    hand.set_now(later(20))
    assert (hand.promote(), hand.promote()) == (1, 0)


def test_promote_takes_the_longest_due_first_and_keeps_the_attempts(hand: Hand) -> None:
    hand.set_now(NOON)
    jobs = [hand.enqueue(delay=f"{seconds} s") for seconds in (30, 10, 20)]
    again = hand.enqueue()
    hand.settle_as("again", hand.claim_one(), delay=5, spare=1)
    hand.set_now(later(60))
    assert hand.promote(2) == 2
    assert hand.places() == {
        jobs[0]: ("scheduled", 0, 0),
        jobs[1]: ("ready", 0, 0),
        jobs[2]: ("scheduled", 0, 0),
        again: ("ready", 1, 1),
    }
    assert hand.promote(2) == 2
    assert [lease.job for lease in hand.claim()] == [again, jobs[1], jobs[2], jobs[0]]


def test_promote_opens_the_lane(hand: Hand) -> None:
    hand.set_now(NOON)
    job = hand.enqueue(delay="1 s", queue="new", priority=7)
    assert hand.lanes() == []
    hand.set_now(later(1))
    hand.promote()
    assert hand.lanes() == [("new", 7)]
    assert hand.claim_one().job == job


def test_next_due(hand: Hand) -> None:
    hand.set_now(NOON)

    def look(longest: float) -> tuple[float | None, float]:
        ((wait, noted, tick),) = hand.say("next_due", longest)
        assert tick is None
        return wait, noted / 1000 - 1_893_499_200

    assert look(5) == (None, 5)
    hand.enqueue(delay="3.5 s")
    hand.enqueue(delay="2 hours")
    assert look(5) == (3.5, 3.5)
    assert look(1) == (3.5, 1)
    hand.set_now(later(10))
    assert look(5) == (-6.5, 10)


def test_a_job_for_the_end_of_time_stops_no_chore_and_no_list(hand: Hand, queue: Any) -> None:
    """SQL may say run_at => 'infinity', or a year that Python does not have."""
    jobs = []
    for run_at in ("infinity", "20000-01-01 00:00:00+00"):
        try:
            jobs.append(hand.enqueue(run_at=run_at))
        except psycopg.Error:
            continue  # refusing it is as good
    assert hand.promote() == 0
    hand.say("next_due", 1.0)
    assert sorted(job.id for job in queue.jobs()) == jobs


# --- rescue ----------------------------------------------------------------------------------------------


def test_rescue_counts_the_attempt_and_ends_what_kills_workers(hands: Callable[..., Hand]) -> None:
    saver = hands()
    saver.set_now(NOON)
    job = saver.enqueue(max_attempts=3)
    seen: list[tuple[Any, ...]] = []
    for attempt in (1, 2, 3):
        dead = hands()
        dead.set_now(later(3600 * attempt))
        dead.promote()
        assert dead.claim_one().attempt == attempt
        saver.set_now(later(3600 * attempt))
        assert saver.rescue([dead.id]) == [(job, str(dead.id), "send", attempt, 3, attempt == 3, False)]
        seen.append(saver.place(job))
        assert not dead.beat()
    assert seen == [("ready", 1, 0), ("scheduled", 2, 0), ("failed", 3, None)]
    errors = saver.sql("SELECT attempt, kind, message FROM pgjobq.attempt_error ORDER BY attempt")
    assert errors == [(attempt, "WorkerDied", "it died") for attempt in (1, 2, 3)]


@pytest.mark.parametrize(("spent", "seconds"), [(2, 1), (3, 3), (4, 7), (7, 60), (30, 60), (30_000, 60)])
def test_rescue_waits_longer_each_time(hands: Callable[..., Hand], spent: int, seconds: int) -> None:
    dead, saver = hands(), hands()
    saver.set_now(NOON)
    saver.enqueue(max_attempts=32_000)
    saver.sql("UPDATE pgjobq.ready SET attempt = $1", spent - 1)
    dead.claim_one()
    saver.rescue([dead.id])
    wait = "SELECT extract(epoch FROM run_at - pgjobq.clock())::float8 FROM pgjobq.scheduled"
    assert saver.value(wait) == seconds


def test_rescue_gives_back_what_had_not_been_started(hands: Callable[..., Hand]) -> None:
    dead, saver = hands(), hands()
    started, unstarted = dead.enqueue(max_attempts=1), dead.enqueue(max_attempts=1)
    dead.claim()
    rows = saver.rescue([dead.id], "killed by signal 9", [started])
    assert [(row[0], row[5], row[6]) for row in rows] == [(started, True, False), (unstarted, False, True)]
    assert saver.places() == {started: ("failed", 1, None), unstarted: ("ready", 0, 0)}
    assert saver.sql("SELECT job, message FROM pgjobq.attempt_error") == [(started, "killed by signal 9")]


def test_rescue_counts_the_budget_without_what_was_spared(hands: Callable[..., Hand]) -> None:
    dead, saver = hands(), hands()
    job = saver.enqueue(max_attempts=2)
    saver.sql("UPDATE pgjobq.ready SET attempt = 9, spared = 9")
    assert dead.claim_one().attempt == 10
    saver.rescue([dead.id])
    assert saver.place(job) == ("ready", 10, 9)


def test_rescue_leaves_the_living_alone(hands: Callable[..., Hand]) -> None:
    alive, saver = hands(), hands()
    job = alive.enqueue()
    alive.claim_one()
    alive.sql("UPDATE pgjobq.running SET started_at = '2001-01-01'")
    assert saver.rescue() == []
    assert saver.rescue([uuid.uuid4()]) == []
    assert saver.place(job) == ("running", 1, 0)


def test_rescue_by_an_expired_lease(hands: Callable[..., Hand]) -> None:
    silent, saver = hands(), hands()
    job = silent.enqueue()
    silent.claim_one()
    saver.sql("UPDATE pgjobq.worker SET expires_at = now() - interval '10 s' WHERE id = $1", silent.id)
    assert saver.rescue(margin=30) == []
    assert silent.beat(), "nobody has declared it dead yet"
    assert saver.rescue() == []
    saver.sql("UPDATE pgjobq.worker SET expires_at = now() - interval '10 s' WHERE id = $1", silent.id)
    assert [row[0] for row in saver.rescue()] == [job]
    assert saver.beat()


def test_rescue_finds_what_belongs_to_nobody(hands: Callable[..., Hand]) -> None:
    ghost, saver = hands(lease=None), hands()
    job = saver.enqueue()
    saver.claim_one()
    saver.sql("UPDATE pgjobq.running SET worker = $1", ghost.id)
    assert [row[0] for row in saver.rescue()] == [job]
    assert saver.place(job) == ("ready", 1, 0)


def test_the_dead_worker_wakes_and_changes_nothing(hands: Callable[..., Hand]) -> None:
    dead, saver = hands(), hands()
    job = dead.enqueue()
    lease = dead.claim_one()
    saver.rescue([dead.id])
    taken = saver.claim_one()
    assert dead.complete(lease) == []
    assert dead.settle_as("f", lease, kind="E", message="m") == []
    assert saver.complete(taken) == [job]
    assert saver.places() == {job: ("succeeded", 2, None)}


# --- retain ----------------------------------------------------------------------------------------------


def _history(hand: Hand) -> dict[str, int]:
    """A succeeded, a failed and a cancelled job of noon, and one that runs."""
    hand.set_now(NOON)
    jobs = {name: hand.enqueue(name) for name in ("succeeded", "failed", "cancelled")}
    leases = {lease.task: lease for lease in hand.claim()}
    hand.settle_as("s", leases["succeeded"])
    hand.settle_as("f", leases["failed"], kind="E", message="m")
    hand.settle_as("c", leases["cancelled"])
    return {**jobs, "ready": hand.enqueue("ready")}


@pytest.mark.parametrize(
    ("age", "succeeded", "failed", "left"),
    [
        (100, 100, 100, {"succeeded", "failed", "cancelled"}),
        (101, 100, 100, set()),
        (101, 100, 200, {"failed"}),
        (101, 200, 100, {"succeeded", "cancelled"}),
        (3600, 100, None, {"failed"}),
        (3600, None, 100, {"succeeded", "cancelled"}),
        (3600, None, None, {"succeeded", "failed", "cancelled"}),
    ],
)
def test_retain(hand: Hand, age: float, succeeded: float | None, failed: float | None, left: set[str]) -> None:
    jobs = _history(hand)
    hand.set_now(later(age))
    assert hand.find_old(1000, succeeded, failed) == ([] if len(left) == 3 else [0])
    assert hand.retain(succeeded=succeeded, failed=failed) == 3 - len(left)
    assert set(hand.places()) == {jobs[name] for name in (left | {"ready"})}
    assert hand.value("SELECT count(*) FROM pgjobq.job") == len(left) + 1
    assert hand.value("SELECT count(*) FROM pgjobq.attempt_error") == int("failed" in left)


def test_retain_in_portions(hand: Hand) -> None:
    _history(hand)
    hand.set_now(later(1000))
    assert [hand.retain(2, 1, 1), hand.retain(2, 1, 1), hand.retain(2, 1, 1)] == [2, 1, 0]


STRETCH = 64  # pages


def _fill_stretches(hand: Hand, jobs: int, *, ago: str) -> None:
    hand.sql(
        """WITH made AS (INSERT INTO pgjobq.job (created_at, priority, max_attempts, queue, task, args)
                         SELECT now(), 0, 20, 'default', 'send', '{}' FROM generate_series(1, $1::int) RETURNING id)
           INSERT INTO pgjobq.finished (job, started_at, finished_at, worker, attempt, outcome)
           SELECT id, now() - $2::interval, now() - $2::interval, gen_random_uuid(), 1, 's' FROM made""",
        jobs,
        ago,
    )


def test_retain_goes_by_place(hand: Hand) -> None:
    """Each stretch that find_old names has something to delete, the others nothing; together they have all of it."""
    for ago in ("3 days", "1 hour", "3 days"):
        _fill_stretches(hand, 12_000, ago=ago)
    hand.sql("ANALYZE pgjobq.finished")
    found = hand.find_old(100_000, 86_400, 86_400)
    pages = hand.value("SELECT pg_relation_size('pgjobq.finished') / 8192")
    every = range(pages // STRETCH + 1)
    assert 3 <= len(found) < len(every)
    deleted = {
        stretch: hand.retain(100_000, 86_400, 86_400, f"({stretch * STRETCH},0)", f"({(stretch + 1) * STRETCH},0)")
        for stretch in every
    }
    assert [stretch for stretch in every if deleted[stretch]] == found
    assert sum(deleted.values()) == 24_000
    assert hand.value("SELECT count(*) FROM pgjobq.job") == 12_000
    assert hand.find_old(100_000, 86_400, 86_400) == []


def test_find_old_is_silent_while_another_worker_deletes(hands: Callable[..., Hand]) -> None:
    one, other = hands(), hands()
    _history(one)
    for hand in (one, other):
        hand.set_now(later(1000))
    one.sql("SELECT pg_advisory_lock(hashtextextended('pgjobq:retain', 0))")
    assert other.find_old(1000, 1, 1) == []
    one.sql("SELECT pg_advisory_unlock(hashtextextended('pgjobq:retain', 0))")
    assert other.find_old(1000, 1, 1) == [0]


# --- stray, lanes, worker --------------------------------------------------------------------------------


def test_stray_gives_back_what_the_worker_does_not_know(hands: Callable[..., Hand]) -> None:
    hand, other = hands(), hands()
    known, lost, others = hand.enqueue(), hand.enqueue(queue="b", priority=4), hand.enqueue(queue="c")
    hand.claim(queues=["default", "b"])
    other.claim()
    assert hand.say("stray", hand.id, [known]) == [(lost,)]
    assert hand.places() == {known: ("running", 1, 0), lost: ("ready", 0, 0), others: ("running", 1, 0)}
    assert hand.sql("SELECT queue, priority, seq > job FROM pgjobq.ready") == [("b", 4, True)]
    assert hand.say("stray", hand.id, [known]) == []
    assert hand.claim_one().attempt == 1


def test_find_lanes_reopens_and_tidy_lanes_drops_doubles(hand: Hand) -> None:
    for queue, priority in (("a", 0), ("a", 3), ("b", -9)):
        hand.enqueue(queue=queue, priority=priority)
    hand.sql("DELETE FROM pgjobq.lane")
    assert hand.claim() == []
    assert hand.say("find_lanes") == [(3,)]
    assert hand.lanes() == [("b", -9), ("a", 0), ("a", 3)]
    hand.sql("INSERT INTO pgjobq.lane SELECT l.* FROM pgjobq.lane l, generate_series(1, 3)")
    assert len(hand.lanes()) == 3, "doubles do not show"
    hand.say("tidy_lanes")
    assert hand.value("SELECT count(*) FROM pgjobq.lane") == 3
    hand.say("find_lanes")
    assert hand.value("SELECT count(*) FROM pgjobq.lane") == 3
    assert hand.lanes(["a"]) == [("a", 0), ("a", 3)]
    assert hand.lanes([]) == []


def test_find_lanes_of_an_empty_table(hand: Hand) -> None:
    assert hand.say("find_lanes") == [(0,)]


def test_doze_is_seen_at_once_and_never_shortened(hand: Hand) -> None:
    left = "SELECT last_value - (extract(epoch FROM clock_timestamp()) * 1000)::bigint FROM pgjobq.idle_until"
    assert len(hand.say("doze", 10_000)) == 1
    assert 5_000 < hand.value(left) <= 10_000
    assert hand.say("doze", 10_000) == [], "what still holds is not written again"
    assert hand.say("doze", 1_000) == []
    with hand.conn.transaction(force_rollback=True):
        hand.say("doze", 600_000)
    assert hand.value(left) > 100_000


def test_a_worker_comes_lives_and_leaves(hands: Callable[..., Hand]) -> None:
    hand = hands(lease=None)
    assert not hand.beat()
    hand.register(1.0, ["send"])
    assert hand.sql("SELECT id, tasks, queues, expires_at - beat_at = '1 s' FROM pgjobq.worker") == [
        (hand.id, ["send"], [], True)
    ]
    assert hand.beat(90.0)
    assert hand.value("SELECT expires_at - beat_at = '90 s' FROM pgjobq.worker")
    hand.enqueue()
    lease = hand.claim_one()
    hand.leave()
    assert hand.beat(), "it still holds a job"
    hand.complete(lease)
    hand.leave()
    assert not hand.beat()


def test_a_batch_of_workers_beats_at_once(hands: Callable[..., Hand]) -> None:
    one, two, gone = hands(), hands(), hands()
    gone.leave()
    rows = one.say("beat", [one.id, two.id, gone.id], 60.0)
    assert sorted(rows) == sorted([(str(one.id),), (str(two.id),)])
