"""Priorities that age: what rises when, that whoever looks for a job finds it, and that no flood keeps it waiting."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from sql.support.hand import Hand, doctored, function_text, impatient

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
Hands = Callable[..., Hand]


def at(hand: Hand, seconds: float) -> None:
    """So many seconds after the start."""
    hand.set_now((START + timedelta(seconds=seconds)).isoformat())


def age(hand: Hand, most: int = 1000) -> int:
    """The chore."""
    return int(hand.say("age", most)[0][0])


def live(hand: Hand, since: float, until: float) -> None:
    """The chore, each second from `since` to `until`."""
    for second in range(int(since), int(until) + 1):
        at(hand, second)
        age(hand)


def levels(hand: Hand) -> dict[int, int]:
    """Where the ready jobs stand: the priorities of their rows."""
    return dict(hand.sql("SELECT job, priority FROM pgjobq.ready"))


def test_a_job_rises_step_by_step_and_its_own_priority_stays(hand: Hand) -> None:
    at(hand, 0)
    hand.sql("SELECT pgjobq.set_ageing('default', '60 seconds')")
    job = hand.enqueue(priority=2)
    for priority in (1, 0):  # lanes there are; the jobs are taken at once
        hand.enqueue(priority=priority)
        hand.complete(hand.look(1, [("default", priority)], [0]).leases[0])
    live(hand, 0, 59)
    assert levels(hand) == {job: 2}
    live(hand, 60, 70)
    assert levels(hand) == {job: 1}
    live(hand, 71, 119)
    assert levels(hand) == {job: 1}
    live(hand, 120, 145)
    assert levels(hand) == {job: 0}
    assert hand.value("SELECT priority FROM pgjobq.jobs WHERE id = $1", job) == 2
    assert hand.value("SELECT state FROM pgjobq.jobs WHERE id = $1", job) == "ready"
    live(hand, 146, 400)
    assert levels(hand) == {job: 0}, "there is no lane above"
    assert hand.claim_one().job == job


def test_it_goes_straight_to_the_next_lane_there_is_of_whatever_queue(hand: Hand) -> None:
    """A worker compares the priorities of all its queues; and a row is not moved oftener than it matters."""
    at(hand, 0)
    hand.sql("SELECT pgjobq.set_ageing('slow', '10 seconds')")
    job = hand.enqueue(queue="slow", priority=5)
    hand.enqueue(queue="other", priority=-4)
    live(hand, 0, 89)
    assert levels(hand)[job] == 5
    live(hand, 90, 103)
    assert levels(hand)[job] == -4
    assert hand.value("SELECT seq FROM pgjobq.ready WHERE job = $1", job) > job


def test_it_rises_no_higher_than_it_may(hand: Hand) -> None:
    at(hand, 0)
    hand.sql("SELECT pgjobq.set_ageing('default', '1 second', -2)")
    job = hand.enqueue(priority=0)
    for priority in (-3, -2):
        hand.enqueue(priority=priority)
    live(hand, 0, 30)
    assert levels(hand)[job] == -2
    assert hand.value("SELECT pgjobq.unset_ageing('default')")
    assert not hand.value("SELECT pgjobq.unset_ageing('default')")
    other = hand.enqueue(priority=0)
    live(hand, 31, 60)
    assert levels(hand)[other] == 0
    assert hand.value("SELECT count(*) FROM pgjobq.age_mark") == 0


def test_other_queues_and_jobs_that_come_back_keep_their_own(hand: Hand) -> None:
    at(hand, 0)
    hand.sql("SELECT pgjobq.set_ageing('default', '1 second')")
    other = hand.enqueue(queue="other", priority=3)
    hand.enqueue(priority=-1)
    job = hand.enqueue(priority=3)
    live(hand, 0, 10)
    assert levels(hand)[job] == -1
    assert levels(hand)[other] == 3
    lease = next(lease for lease in hand.claim(2, ["default"]) if lease.job == job)
    hand.settle_as("again", lease)
    assert levels(hand)[job] == 3, "a new wait begins"


@pytest.mark.parametrize("seed", range(6))
def test_jobs_start_in_the_order_of_time_and_steps(hand: Hand, seed: int) -> None:
    """A job with priority p counts as if it had come p steps later, to within an eighth of its rise and 2 s."""
    chance = random.Random(seed)
    step = chance.choice([4, 10, 30])
    hand.sql("SELECT pgjobq.set_ageing('default', make_interval(secs => $1))", step)
    came: dict[int, tuple[int, int]] = {}
    for second in range(300):
        at(hand, second)
        for _ in range(chance.choice([0, 0, 0, 1, 2])):
            priority = chance.choice([-3, 0, 0, 2, 7])
            came[hand.enqueue(priority=priority)] = (second, priority)
        age(hand)
        if chance.random() < 0.5:
            taken = hand.claim(chance.choice([1, 1, 2]))
            for lease in taken:
                mine, own = came.pop(lease.job)
                for other, (their, priority) in came.items():
                    gap = abs(own - priority) * step
                    ahead = (mine + own * step) - (their + priority * step)
                    assert ahead <= gap / 8 + 2 + 2 * (own != priority), (lease.job, other)
            hand.complete(*taken)


FLOOD, PACE = 3, 3


def wait_under_flood(hand: Hand, seconds: int) -> int | None:
    """The second in which a job of priority 4 starts while urgent ones come as fast as jobs are run; None: never."""
    at(hand, 0)
    low = hand.enqueue(priority=4)
    for _ in range(20):
        hand.enqueue(priority=-5)  # a backlog of urgent ones
    for second in range(seconds):
        at(hand, second)
        for _ in range(FLOOD):
            hand.enqueue(priority=-5)
        age(hand)
        taken = hand.claim(PACE)
        hand.complete(*taken)
        if any(lease.job == low for lease in taken):
            return second
    return None


def test_under_a_constant_flood_a_job_starts_within_the_bound(hand: Hand) -> None:
    """9 steps of 5 s and an eighth, a second for the chore, and what stood in the urgent lane at that time."""
    hand.sql("SELECT pgjobq.set_ageing('default', '5 seconds')")
    waited = wait_under_flood(hand, 120)
    assert waited is not None
    assert 45 <= waited <= 45 * 9 / 8 + 1 + (20 + FLOOD) / PACE + 1


def test_without_ageing_it_never_does(hand: Hand) -> None:
    """The test above can fail: also where the chore moves nothing."""
    assert wait_under_flood(hand, 120) is None


def test_the_flood_may_come_from_another_queue(hand: Hand) -> None:
    """Also when the queue that ages has no urgent lane of its own."""

    def starts() -> bool:
        hand.sql("DELETE FROM pgjobq.ready")
        hand.sql("DELETE FROM pgjobq.job j WHERE NOT EXISTS (SELECT FROM pgjobq.finished f WHERE f.job = j.id)")
        at(hand, 0)
        low = hand.enqueue(queue="reports")
        for second in range(40):
            at(hand, second)
            hand.enqueue(queue="zoo", priority=-3)
            hand.enqueue(queue="zoo", priority=-3)
            age(hand)
            taken = hand.claim(2)
            hand.complete(*taken)
            if any(lease.job == low for lease in taken):
                return True
        return False

    assert not starts()
    hand.sql("SELECT pgjobq.set_ageing('reports', '5 seconds')")
    assert starts()


# --------------------------------------------------------------------------- who looks for it finds it


def risen(hand: Hand, times: int = 1, *, since: float = 0) -> int:
    """A job that has risen so many times, from so many seconds after the start."""
    at(hand, since)
    for priority in (-1, -2):
        hand.enqueue(priority=priority)
        hand.complete(hand.claim_one())
    hand.sql("SELECT pgjobq.set_ageing('default', '8 seconds', $1::int)", -times)
    job = hand.enqueue()
    live(hand, since, since + 10 * times)
    assert levels(hand)[job] == -times
    return job


@pytest.mark.parametrize("times", [1, 2])
def test_whoever_names_a_risen_job_finds_it(hand: Hand, times: int) -> None:
    job = risen(hand, times)
    assert hand.value("SELECT pgjobq.edit($1, args => '{\"a\": 1}')", job)
    assert levels(hand) == {job: -times}, "its arguments are not its place"
    assert hand.value("SELECT pgjobq.move($1, 'other')", job)
    assert hand.sql("SELECT queue, priority FROM pgjobq.ready") == [("other", -times)]
    assert hand.value("SELECT pgjobq.edit($1, priority => 5)", job)
    assert levels(hand) == {job: 5}
    assert hand.cancel(job)
    assert hand.place(job)[0] == "cancelled"


@pytest.mark.parametrize("times", [1, 2])
def test_expiry_and_dropping_find_risen_jobs(hand: Hand, times: int) -> None:
    job = risen(hand, times)
    hand.value("SELECT pgjobq.edit($1, expires_in => interval '1 second')", job)
    at(hand, 100)
    hand.say("expire", 10)
    assert hand.place(job)[0] == "cancelled"
    job = risen(hand, times, since=100)
    assert hand.value("SELECT pgjobq.drop_oldest('default', 1, 'no room')") == 1
    assert hand.place(job)[0] == "cancelled"


RACERS = {
    "cancel": "SELECT pgjobq.cancel($1)",
    "edit": "SELECT pgjobq.edit($1, priority => 7)",
    "move": "SELECT pgjobq.move($1, 'other')",
}


def race(hands: Hands, what: str, times: int) -> bool:
    """Whether `what` finds a job whose row the chore has in hand, about to commit: for the nth time it rises."""
    hand, other = hands(), hands()
    if times == 1:
        at(hand, 0)
        hand.enqueue(priority=-1)
        hand.complete(hand.claim_one())
        hand.sql("SELECT pgjobq.set_ageing('default', '8 seconds')")
        job = hand.enqueue()
        live(hand, 0, 7)
    else:
        job = risen(hand, times - 1)
        hand.sql("SELECT pgjobq.set_ageing('default', '8 seconds')")
        live(hand, 10, 16)
    before = levels(hand)[job]
    found: list[bool] = []
    with hand.conn.transaction():
        at(hand, 20)
        assert age(hand) == 1
        racer = threading.Thread(target=lambda: found.append(bool(other.value(RACERS[what], job))))
        racer.start()
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND wait_event_type = 'Lock'"
        with Hand(hand.conn.info.dsn, lease=None) as eye:
            while racer.is_alive() and not eye.value(waiting, other.pid):
                pass
        assert racer.is_alive(), "it did not wait for the row"
    racer.join(30)
    assert levels(hand).get(job) != before
    assert hand.sql("SELECT * FROM pgjobq.misplaced") == []
    return found == [True]


@pytest.mark.parametrize("what", RACERS)
@pytest.mark.parametrize("times", [1, 2])
def test_who_waits_for_a_row_that_rises_finds_it(hands: Hands, what: str, times: int) -> None:
    assert race(hands, what, times)


def test_who_looks_only_once_would_not_find_it(hands: Hands) -> None:
    """The guard taken out: a job that rises for the second time is in the same table as before, under a new number."""
    once = doctored(function_text("cancel"), ("IF NOT pgjobq.is_waiting(cancel.job) THEN", "IF true THEN"))
    hands(lease=None).sql(once)
    assert not race(hands, "cancel", 2)


def test_it_never_waits_and_takes_so_many_at_once(hands: Hands) -> None:
    """What somebody holds is passed by; the longest waiting go first; a second chore does nothing meanwhile."""
    hand, other = impatient(hands()), hands()
    at(hand, 0)
    hand.enqueue(priority=-1)
    hand.complete(hand.claim_one())
    hand.sql("SELECT pgjobq.set_ageing('default', '8 seconds')")
    jobs = [hand.enqueue() for _ in range(5)]
    live(hand, 0, 7)
    with other.conn.transaction():
        other.sql("SELECT FROM pgjobq.ready WHERE job = $1 FOR UPDATE", jobs[0])
        at(hand, 8)
        assert age(hand, 2) == 2
        assert [job for job, level in levels(hand).items() if level == -1] == jobs[1:3]
        with hand.conn.transaction():
            assert age(hand, 1) == 1
            with Hand(hand.conn.info.dsn) as third:
                at(third, 8)
                assert age(third) == 0
    assert age(hand) == 2
    assert [lease.job for lease in hand.claim()] == [*jobs[1:4], jobs[0], jobs[4]]


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ("'', '1 minute'", "queue has 0 characters"),
        ("NULL, '1 minute'", "queue has 0 characters"),
        ("'mail', NULL", "step is null: wants 1 second to 366 days"),
        ("'mail', '0.9 seconds'", "step is 00:00:00.9: wants 1 second"),
        ("'mail', '-1 hour'", "wants 1 second to 366 days"),
        ("'mail', '2 years'", "wants 1 second to 366 days"),
        ("'mail', '1 minute', -10", "up_to is -10: wants a whole number from -9 to 9"),
        ("'mail', '1 minute', NULL", "up_to is null"),
    ],
)
def test_what_cannot_be_set(hand: Hand, args: str, sentence: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match=sentence):
        hand.sql(f"SELECT pgjobq.set_ageing({args})")


def test_marks_stay_few(hand: Hand) -> None:
    """However long it goes on: some ten for each lane."""
    hand.sql("SELECT pgjobq.set_ageing('default', '30 seconds')")
    at(hand, 0)
    for priority in (-2, 0, 1):
        hand.enqueue(priority=priority)
    live(hand, 0, 400)
    assert hand.value("SELECT max(n) FROM (SELECT count(*) AS n FROM pgjobq.age_mark GROUP BY priority) x") <= 11
