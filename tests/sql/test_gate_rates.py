"""Rates and quotas of gates, driven by hand under the virtual clock: who may start when, and what is charged for it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import errors as pg

from sql.support.gated import NOON, Clock, figures, look, look_later_in, put, settle, state
from sql.support.hand import Hand, doctored

STEADY = [{"key": "sms", "rate": {"limit": 10, "per": 1}}]
BURSTY = [{"key": "sms", "rate": {"limit": 10, "per": 1, "burst": 3}}]
DAILY = [{"key": "sms", "quota": {"limit": 2, "per": "day", "tz": "Europe/Paris"}}]


def test_a_token_comes_when_it_comes(hand: Hand) -> None:
    clock = Clock(hand)
    put(hand, STEADY, 3)
    look(hand)
    assert len(hand.claim()) == 1, "at once: nothing was used before"
    clock.pass_by(0.0999)
    assert hand.claim() == []
    clock.pass_by(0.0001)
    assert len(hand.claim()) == 1
    clock.pass_by(10)
    assert len(hand.claim()) == 1
    assert hand.sql("SELECT FROM pgjobq.blocked") == []


def test_after_a_quiet_time_a_burst_starts_at_once_and_no_more(hand: Hand) -> None:
    clock = Clock(hand)
    put(hand, BURSTY, 20)
    look(hand)
    assert len(hand.claim()) == 3
    clock.pass_by(0.1)
    assert len(hand.claim()) == 1
    clock.pass_by(0.25)
    assert len(hand.claim()) == 2
    clock.pass_by(60)
    assert len(hand.claim()) == 3, "tokens that nobody needs are lost"


def test_somebody_looks_exactly_when_the_next_token_comes(hand: Hand) -> None:
    clock = Clock(hand)
    put(hand, STEADY, 2)
    look(hand)
    assert look_later_in(hand, "sms") == pytest.approx(0.1)
    assert hand.say("next_due", 1.0)[0][0] == pytest.approx(0.1), "upkeep sleeps until then"
    lease = hand.claim_one()
    clock.set(clock.now + timedelta(seconds=0.03))
    settle(hand, "s", lease)
    assert look_later_in(hand, "sms") == pytest.approx(0.07)
    assert hand.value("SELECT count(*) FROM pgjobq.gate_look") == 1


def test_jobs_that_stood_ready_for_long_do_not_start_all_together(hand: Hand) -> None:
    """It is starts that count: tokens that are out are held back from the bucket until the job starts."""
    clock = Clock(hand)
    put(hand, BURSTY, 20)
    for _ in range(10):
        clock.pass_by(1)
    assert len(hand.claim()) == 3
    clock.pass_by(0.01)
    assert hand.claim() == []


def test_and_if_it_was_their_passing_that_counted_they_would(hand: Hand) -> None:
    body = hand.value("SELECT pg_get_functiondef('pgjobq.gate_room'::regproc)")
    hand.sql(doctored(body, ("WHERE p.key = here AND p.token AND p.job <> gate_room.job", "WHERE false")))
    clock = Clock(hand)
    put(hand, BURSTY, 20)
    for _ in range(10):
        clock.pass_by(1)
    assert len(hand.claim()) > 3


@pytest.mark.parametrize("fate", ["s", "f", "c", "again"])
def test_a_start_is_charged_once_with_the_time_at_which_it_was(hand: Hand, fate: str) -> None:
    clock = Clock(hand)
    put(hand, STEADY, 2)
    look(hand)
    clock.set(NOON + timedelta(seconds=5))
    lease = hand.claim_one()
    more = {"kind": "Oops", "message": "no"} if fate in ("again", "f") else {}
    clock.set(NOON + timedelta(seconds=5.04))
    settle(hand, fate, lease, **more, **({"delay": 60} if fate == "again" else {}))
    assert hand.value("SELECT full_at FROM pgjobq.gate_meter") == NOON + timedelta(seconds=5.1)
    look(hand)
    hand.say("sweep_gates")
    look(hand)
    assert hand.value("SELECT full_at FROM pgjobq.gate_meter") == NOON + timedelta(seconds=5.1)
    assert hand.claim() == []
    clock.pass_by(0.06)
    assert len(hand.claim()) == 1


def test_a_start_whose_job_waits_for_an_event_is_charged(hand: Hand) -> None:
    """Each attempt is a start, also one that ends in a wait at once; and it gives its place in `concurrency` up."""
    clock = Clock(hand)
    put(hand, [{"key": "sms", "rate": {"limit": 1, "per": 60}, "concurrency": 1}], 2)
    look(hand)
    settle(hand, "blocked", hand.claim_one(), waits_for="event:paid")
    assert hand.sql("SELECT FROM pgjobq.gate_pass") == []
    look(hand)
    assert hand.claim() == [], "its token is used"
    clock.pass_by(60.001)
    lease = hand.claim_one()
    clock.pass_by(60)
    settle(hand, "blocked", lease, waits_for="task:send", back=1, spare=0)
    assert hand.value("SELECT count(*) FROM pgjobq.gate_pass WHERE token") == 1, "parked, it keeps its token"
    assert len(hand.adopt(["send"])) == 1


def test_a_token_that_was_not_used_is_not_charged(hand: Hand, hands: Callable[..., Hand]) -> None:
    clock = Clock(hand)
    first, second, third = put(hand, STEADY, 3)
    look(hand)
    assert hand.value("SELECT pgjobq.cancel($1)", first)
    look(hand)
    assert state(hand, second) == "ready"
    unlucky = hands()
    Clock(unlucky)
    assert unlucky.claim_one().job == second
    hand.rescue([unlucky.id], started=[])
    look(hand)
    assert {state(hand, second), state(hand, third)} == {"ready", "blocked"}, "it was never started"
    lease = hand.claim_one()
    settle(hand, "s", lease)
    assert hand.value("SELECT full_at FROM pgjobq.gate_meter") == clock.now + timedelta(seconds=0.1)


def test_a_worker_that_dies_has_used_the_tokens_of_what_it_started(hand: Hand, hands: Callable[..., Hand]) -> None:
    clock = Clock(hand)
    dead = hands()
    Clock(dead)
    put(hand, BURSTY, 6)
    look(hand)
    leases = dead.claim()
    assert len(leases) == 3
    clock.set(NOON + timedelta(seconds=0.05))
    hand.rescue([dead.id], started=[lease.job for lease in leases])
    look(hand)
    assert hand.claim() == []
    clock.pass_by(0.05)
    assert len(hand.claim()) == 1


def test_each_attempt_needs_a_token_also_of_a_job_that_keeps_its_place_in_an_order(hand: Hand) -> None:
    clock = Clock(hand)
    line = [{"key": "line", "order": "fifo", "rate": {"limit": 1, "per": 1}}]
    first, second = put(hand, line, 2)
    look(hand)
    settle(hand, "again", hand.claim_one())
    assert state(hand, first) == "blocked"
    clock.pass_by(0.99)
    assert hand.claim() == []
    clock.pass_by(0.01)
    lease = hand.claim_one()
    assert lease.job == first, "nobody overtakes it"
    clock.set(clock.now + timedelta(seconds=1))
    settle(hand, "s", lease)
    assert hand.claim_one().job == second


def test_concurrency_and_rate_of_one_gate_or_of_two_hold_both(hand: Hand) -> None:
    for gates in (
        [{"key": "a", "concurrency": 2, "rate": {"limit": 1, "per": 1, "burst": 5}}],
        [{"key": "b", "concurrency": 2}, {"key": "c", "rate": {"limit": 1, "per": 1, "burst": 5}}],
        [{"key": "d", "rate": {"limit": 1, "per": 1, "burst": 5}}, {"key": "e", "concurrency": 2}],
    ):
        clock = Clock(hand)
        jobs = put(hand, gates, 12)
        running = []
        started = 0
        for _ in range(4):
            look(hand)
            look(hand)
            running += (new := hand.claim())
            started += len(new)
            assert len(running) <= 2
            while running:
                settle(hand, "s", running.pop())
        look(hand)
        look(hand)
        started += len(running := hand.claim())
        assert started == 5, "the burst, and then the rate"
        clock.pass_by(1)
        assert len(hand.claim()) == 1
        for job in jobs:
            hand.cancel(job)


def test_a_rate_that_is_changed_while_jobs_wait(hand: Hand) -> None:
    clock = Clock(hand)
    put(hand, [{"key": "sms:fr", "name": "sms:{country}", "rate": {"limit": 1, "per": 3600}}], 5)
    look(hand)
    assert len(hand.claim()) == 1
    hand.sql("SELECT pgjobq.set_gate('sms:{country}', rate => '{\"limit\": 10}')")
    look(hand)
    assert look_later_in(hand, "sms:fr") <= 0.1, "what was used counts no more than the new bucket holds"
    clock.pass_by(0.1)
    assert len(hand.claim()) == 1
    hand.sql("SELECT pgjobq.set_gate('sms:fr', 0)")
    clock.pass_by(5)
    assert hand.claim() == []
    hand.sql("SELECT pgjobq.unset_gate('sms:fr')")
    look(hand)
    assert len(hand.claim()) == 1
    hand.sql("SELECT pgjobq.unset_gate('sms:{country}')")
    look(hand)
    clock.pass_by(5)
    assert hand.claim() == []


def test_a_quota_begins_anew_at_midnight_of_its_time_zone(hand: Hand) -> None:
    clock = Clock(hand)
    put(hand, DAILY, 5)
    look(hand)
    assert len(hand.claim()) == 2
    shown = figures(hand, "sms")["quota"]
    assert (shown["limit"], shown["used"], shown["ends"]) == (2, 2, "2026-03-10T23:00:00+00:00")
    assert look_later_in(hand, "sms") == 11 * 3600
    clock.set(datetime(2026, 3, 10, 22, 59, 59, tzinfo=UTC))
    look(hand)
    assert hand.claim() == []
    clock.pass_by(1)
    assert len(hand.claim()) == 2
    clock.set(datetime(2026, 3, 29, 12, tzinfo=UTC))  # clocks went forward in the night: the day has 23 hours
    look(hand)
    assert len(hand.claim()) == 1
    assert hand.value("SELECT ends FROM pgjobq.gate_meter") is not None


def test_what_starts_after_midnight_counts_for_the_new_day(hand: Hand) -> None:
    clock = Clock(hand, datetime(2026, 3, 10, 22, 59, 59, tzinfo=UTC))
    put(hand, DAILY, 5)
    look(hand)
    clock.pass_by(2)
    assert len(hand.claim()) == 2
    look(hand)
    clock.pass_by(60)
    assert hand.claim() == []
    assert figures(hand, "sms")["quota"]["used"] == 2


@pytest.mark.parametrize(
    ("quota", "at", "begins", "ends"),
    [
        ('{"per": "day", "tz": "Europe/Paris"}', "2026-03-29 12:00Z", "2026-03-28 23:00Z", "2026-03-29 22:00Z"),
        ('{"limit": 1, "per": "week"}', "2026-03-11 12:00Z", "2026-03-09 00:00Z", "2026-03-16 00:00Z"),
        ('{"per": "month", "tz": "Asia/Kolkata"}', "2026-02-28 18:30Z", "2026-02-28 18:30Z", "2026-03-31 18:30Z"),
        ('{"limit": 1, "per": 60}', "2026-03-11 12:00:59.9Z", "2026-03-11 12:00Z", "2026-03-11 12:01Z"),
        ('{"limit": 1}', "2026-03-11 12:00Z", "2026-03-11 00:00Z", "2026-03-12 00:00Z"),
    ],
)  # fmt: skip
def test_periods(hand: Hand, quota: str, at: str, begins: str, ends: str) -> None:
    found = hand.sql(
        """SELECT begins = $3::text::timestamptz, ends = $4::text::timestamptz
           FROM pgjobq.quota_period($1::text::jsonb, $2::text::timestamptz)""", quota, at, begins, ends
    )  # fmt: skip
    assert found == [(True, True)]


def test_a_gate_that_is_paused_lets_nobody_through_and_calls_back_what_is_ready(hand: Hand) -> None:
    gate = [{"key": "merchant:7", "name": "merchant:{id}", "concurrency": 2}]
    running, ready, waits = put(hand, gate, 3)
    look(hand)
    (lease, *_) = hand.claim(limit=1)
    assert (lease.job, state(hand, ready)) == (running, "ready")
    hand.sql("SELECT pgjobq.pause('gate', 'merchant:{id}', 'they asked us to', who => 'ada')")
    assert {state(hand, ready), state(hand, waits)} == {"blocked"}
    settle(hand, "s", lease)
    look(hand)
    assert hand.claim() == []
    assert figures(hand, "merchant:7")["pause"]["reason"] == "they asked us to"
    assert hand.value("SELECT pgjobq.resume('gate', 'merchant:{id}')")
    look(hand)
    assert len(hand.claim()) == 2
    assert [row[0] for row in hand.sql("SELECT what FROM pgjobq.audit ORDER BY id")] == ["pause", "resume"]


def test_the_pause_of_a_gate_ends_by_itself(hand: Hand) -> None:
    clock = Clock(hand)
    hand.sql("SELECT pgjobq.pause('gate', 'sms', until => pgjobq.clock() + interval '1 minute')")
    put(hand, BURSTY, 1)
    clock.pass_by(59)
    assert hand.claim() == []
    clock.set(clock.now + timedelta(seconds=1))
    hand.say("follow_orders")
    look(hand)
    assert len(hand.claim()) == 1


def test_a_meter_that_says_nothing_any_more_is_forgotten(hand: Hand) -> None:
    clock = Clock(hand)
    put(hand, [{"key": "sms", "rate": {"limit": 10}, "quota": {"limit": 5}}])
    look(hand)
    settle(hand, "s", hand.claim_one())
    clock.pass_by(3600)
    hand.say("forget_meters", 10)
    assert hand.value("SELECT used FROM pgjobq.gate_meter") == 1, "the day is not over"
    clock.pass_by(24 * 3600)
    hand.say("forget_meters", 10)
    assert hand.sql("SELECT FROM pgjobq.gate_meter UNION ALL SELECT FROM pgjobq.gate_pass") == []


@pytest.mark.parametrize(
    ("gate", "says"),
    [
        ({"rate": "10/s"}, 'rate is "10/s": wants an object'),
        ({"rate": {"limit": 0}}, "rate.limit is 0"),
        ({"rate": {"per": 1}}, "rate.limit is missing"),
        ({"rate": {"limit": 1, "per": 0}}, "rate.per is 0"),
        ({"rate": {"limit": 1, "burst": 0}}, "rate.burst is 0"),
        ({"rate": {"limit": 9_999_999}}, "a million in a second is the most"),
        ({"rate": {"limit": 1, "every": 3}}, "wants an object"),
        ({"quota": {"limit": 1, "per": "year"}}, "quota.per is 'year'"),
        ({"quota": {"limit": 1, "per": 0.5}}, "quota.per is 0.5"),
        ({"quota": {"limit": 1, "per": 60, "tz": "UTC"}}, "only a day, a week or a month"),
        ({"quota": {"per": "day"}}, "quota.limit is missing"),
        ({"share": ""}, "the share of a gate has 0 characters"),
        ({"share": "a", "order": "fifo"}, "one or the other"),
        ({"share": "a", "weight": 0}, "the weight of a share is 0"),
        ({"key": "a\x1fb", "concurrency": 1}, "U\\+001F"),
    ],
)
def test_what_is_wrong_is_refused_with_the_value(hand: Hand, gate: dict[str, Any], says: str) -> None:
    with pytest.raises(pg.CheckViolation, match=says):
        put(hand, [{"key": "a", **gate}])
    with pytest.raises(pg.InvalidParameterValue, match="Europe/Pairs"):
        put(hand, [{"key": "a", "quota": {"limit": 1, "tz": "Europe/Pairs"}}])


def test_what_cannot_be_set_is_refused_with_the_value(hand: Hand) -> None:
    for call, says in (
        ("set_gate('a')", "sets nothing"),
        ("set_gate('', 1)", "0 characters"),
        ("set_gate('a', -1)", "concurrency is -1"),
        ("set_gate('a', rate => '{\"limit\": 0}')", "rate.limit is 0"),
        ("set_gate('a', weights => '{\"acme\": 0}')", "weights is"),
        ("set_gate('a', weights => '[]')", "weights is"),
        ("pause('gate', '')", "0 characters"),
        ("pause('job', 'a')", "wants queue, task or gate"),
    ):
        with pytest.raises(pg.CheckViolation, match=says):
            hand.sql(f"SELECT pgjobq.{call}")


STEPS = st.lists(
    st.tuples(st.sampled_from(["look", "claim", "succeed", "fail", "die", "enqueue", "cancel"]), st.integers(0, 400)),
    min_size=5,
    max_size=60,
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS, burst=st.integers(1, 4), quota=st.integers(2, 9))
def test_no_window_ever_sees_more_starts_than_the_rate_and_no_period_more_than_the_quota(
    hand: Hand, steps: list[tuple[str, int]], burst: int, quota: int
) -> None:
    """Whatever workers do and however long jobs stand ready: 5 in a second, and so many in 3 seconds."""
    churned = ("job", "finished", "attempt_error", "ready", "running", "blocked", "scheduled", "worker")
    tables = (*churned, "gate_pass", "gate_look", "gate_meter")
    hand.sql(f"TRUNCATE {', '.join(f'pgjobq.{table}' for table in tables)}")
    clock = Clock(hand)
    gates = [
        {"key": "sms", "rate": {"limit": 5, "burst": burst}, "quota": {"limit": quota, "per": 3}, "concurrency": 6}
    ]
    put(hand, gates, 30)
    hand.register()
    held: list[Any] = []
    starts: list[datetime] = []
    for what, milliseconds in [*steps, ("look", 0), ("claim", 0)]:
        clock.set(clock.now + timedelta(milliseconds=milliseconds))
        match what:
            case "look":
                look(hand)
            case "claim":
                new = hand.claim(limit=1 + milliseconds % 5)
                held += new
                starts += [clock.now] * len(new)
            case "succeed" | "fail" if held:
                lease = held.pop()
                if what == "fail":
                    settle(hand, "again", lease, kind="Oops", message="no")
                else:
                    settle(hand, "s", lease)
            case "die" if held:
                hand.rescue([hand.id], started=[lease.job for lease in held])
                hand.register()
                held.clear()
            case "enqueue":
                put(hand, gates, 2)
            case "cancel":
                for (job,) in hand.sql("SELECT job FROM pgjobq.ready LIMIT 1"):
                    hand.cancel(job)
        assert hand.sql("SELECT * FROM pgjobq.misplaced") == []
    for i, first in enumerate(starts):
        for n, last in enumerate(starts[i:], 1):
            assert n <= burst + 5 * (last - first).total_seconds() + 1e-9, f"{n} starts from {first} to {last}"
    periods = [int(start.timestamp() // 3) for start in starts]
    assert all(periods.count(period) <= quota for period in periods)


def test_with_nothing_in_the_way_the_whole_rate_is_used(hand: Hand) -> None:
    clock = Clock(hand)
    put(hand, STEADY, 21)
    starts = []
    look(hand)
    for _ in range(2000):
        starts += [clock.now for lease in hand.claim()]
        clock.pass_by(max(0.0001, look_later_in(hand, "sms"))) if len(starts) < 21 else None
    gaps = [(after - before).total_seconds() for before, after in pairwise(starts)]
    assert len(starts) == 21
    assert max(gaps) <= 0.1001
