"""Every statement of a worker, as a table of before and after; `Hand.places` checks the conservation law each time."""

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


# --- claim -----------------------------------------------------------------------------------------------


def test_claim_leases_and_tells_everything(hand: Hand) -> None:
    hand.set_now(NOON)
    job = hand.enqueue("send", args={"n": 1}, queue="mail", priority=-3, ref="r", tags=["t"], headers={"h": "x"}, max_attempts=4)
    lease = hand.claim_one()
    assert (lease.job, lease.seq, lease.queue, lease.priority, lease.attempt, lease.spared) == (job, job, "mail", -3, 1, 0)
    assert (lease.task, lease.args, lease.ref, lease.tags, lease.headers) == ("send", '{"n": 1}', "r", ["t"], '{"h": "x"}')
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
        "SELECT job, attempt, worker, kind, message, traceback, failed_at - started_at = '7 s' FROM pgjobq.attempt_error"
    )
    expected = [(job, 1, hand.id, more["kind"], more["message"], more.get("traceback", ""), True)] if "kind" in more else []
    assert errors == expected
    if after[0] in ("ready", "scheduled", "blocked"):
        assert hand.sql(f"SELECT queue, priority FROM pgjobq.{after[0]}") == [("mail", 2)]
    else:
        ended = hand.sql("SELECT worker, finished_at - started_at = '7 s', result, reason FROM pgjobq.finished")
        assert ended == [(hand.id, True, more.get("result"), more.get("reason"))]
    if after[0] == "scheduled":
        assert hand.value("SELECT extract(epoch FROM run_at - pgjobq.clock())::float8 FROM pgjobq.scheduled") == more["delay"]
    assert hand.settle_as(fate, lease, **more) == [], "a second time it is not held any more"
    assert hand.places() == {job: after}


def test_settle_of_many_fates_at_once(hand: Hand) -> None:
    jobs = [hand.enqueue() for _ in FATES]
    leases = hand.claim()
    outcomes = [
        {"job": lease.job, "attempt": 1, "fate": fate, **more} for lease, (fate, more, _) in zip(leases, FATES, strict=True)
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
    """`attempt` only grows. A job that waits by Snooze (every 30 s for 12 days) must not break the claim of its neighbours."""
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
        _park(hand, "mine"), _park(hand, "mine", priority=9), _park(hand, "mine", queue="other"), _park(hand, "unknown"),
    )  # fmt: skip
    assert hand.adopt([]) == []
    assert hand.adopt(["min", "mine:", "task:mine"]) == []
    assert [lease.job for lease in other.adopt(["mine"], ["default"], 1)] == [mine]
    assert [(lease.job, lease.attempt, lease.task) for lease in other.adopt(["mine", "x"], ["default"])] == [(low, 1, "mine")]
    assert hand.places() == {mine: ("running", 1, 0), low: ("running", 1, 0), elsewhere: ("blocked", 0, 0), unknown: ("blocked", 0, 0)}
    assert [lease.job for lease in hand.adopt(["mine"])] == [elsewhere]
    assert hand.value("SELECT worker FROM pgjobq.running WHERE job = $1", elsewhere) == hand.id


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
        jobs[0]: ("scheduled", 0, 0), jobs[1]: ("ready", 0, 0), jobs[2]: ("scheduled", 0, 0), again: ("ready", 1, 1),
    }  # fmt: skip
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
        ((wait, noted),) = hand.say("next_due", longest)
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
    assert hand.retain(succeeded=succeeded, failed=failed) == 3 - len(left)
    assert set(hand.places()) == {jobs[name] for name in (left | {"ready"})}
    assert hand.value("SELECT count(*) FROM pgjobq.job") == len(left) + 1
    assert hand.value("SELECT count(*) FROM pgjobq.attempt_error") == int("failed" in left)


def test_retain_in_portions(hand: Hand) -> None:
    _history(hand)
    hand.set_now(later(1000))
    assert [hand.retain(2, 1, 1), hand.retain(2, 1, 1), hand.retain(2, 1, 1)] == [2, 1, 0]


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
    assert hand.sql("SELECT id, tasks, queues, expires_at - beat_at = '1 s' FROM pgjobq.worker") == [(hand.id, ["send"], [], True)]
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


# --- retry, cancel, by state -----------------------------------------------------------------------------

STATES = ["scheduled", "retry", "ready", "ready again", "blocked", "running", "succeeded", "failed", "cancelled", "nowhere"]


def _job_in(hand: Hand, state: str) -> int:
    if state == "nowhere":
        return 4711
    job = hand.enqueue(delay="1 hour" if state == "scheduled" else None)
    if state in ("scheduled", "ready"):
        return job
    lease = hand.claim_one()
    fates = {
        "retry": ("again", {"delay": 60}), "ready again": ("again", {}), "blocked": ("blocked", {"waits_for": "task:x"}),
        "succeeded": ("s", {}), "failed": ("f", {"kind": "E", "message": "m"}), "cancelled": ("c", {}),
    }  # fmt: skip
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
    assert hand.sql("SELECT started_at, worker, reason FROM pgjobq.finished") == [(None, None, "cancelled while it waited")]
    assert hand.retry(job)
    lease = hand.claim_one()
    assert (lease.job, lease.queue, lease.priority, lease.attempt) == (job, "mail", 3, 1)


def test_complete_function(hand: Hand) -> None:
    job = hand.enqueue()
    lease = hand.claim_one()
    assert hand.value("SELECT pgjobq.complete($1, $2, $3, '[1]')", job, lease.attempt, hand.id) is True
    assert hand.sql("SELECT outcome, attempt, worker, result FROM pgjobq.finished") == [("s", 1, hand.id, [1])]
    assert hand.value("SELECT pgjobq.complete($1, $2, $3)", job, lease.attempt, hand.id) is False
