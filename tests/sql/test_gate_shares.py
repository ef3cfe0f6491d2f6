"""Gates whose places are shared fairly, driven by hand: whose turn it is."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sql.support.gated import figures, look, put, settle, state
from sql.support.hand import Hand, doctored


def of(share: str | None, **more: Any) -> list[dict[str, Any]]:
    """The gate of a job with this share, whose places are one at a time unless it is said."""
    gate = {"key": "mail", "concurrency": 1, "share": share, **more}
    return [{key: value for key, value in gate.items() if value is not None}]


def run_all(hand: Hand, owner: dict[int, str], most: int = 1_000_000) -> list[str]:
    """Run them one after the other; whose they were, in the order of their starts."""
    order: list[str] = []
    while len(order) < most and (leases := hand.claim()):
        for lease in leases:
            order.append(owner[lease.job])
            settle(hand, "s", lease)
    return order


def enqueue(hand: Hand, shares: Iterable[tuple[str, int]], **more: Any) -> dict[int, str]:
    return {job: share for share, count in shares for job in put(hand, of(share, **more), count)}


def test_a_backlog_of_one_delays_the_job_of_another_by_a_turn(hand: Hand) -> None:
    owner = enqueue(hand, [("big", 300)])
    look(hand)
    assert run_all(hand, owner, 10) == ["big"] * 10
    owner |= enqueue(hand, [("small", 1)])
    look(hand)
    assert "small" in run_all(hand, owner, 2), "one had been let through already"
    assert set(run_all(hand, owner)) == {"big"}


def test_turns_go_round(hand: Hand) -> None:
    owner = enqueue(hand, [("a", 30), ("b", 20), ("c", 10)])
    look(hand)
    order = run_all(hand, owner)
    assert Counter(order[:30]) == {"a": 10, "b": 10, "c": 10}
    assert Counter(order[30:50]) == {"a": 10, "b": 10}, "the share of whoever has nothing goes to the others"
    assert len(order) == 60
    assert hand.sql("SELECT FROM pgjobq.gate_share") == [], "the round is over"


@pytest.mark.parametrize("by_hand", [False, True])
def test_turns_go_by_weight_also_when_it_is_set_by_hand(hand: Hand, by_hand: bool) -> None:
    owner = enqueue(hand, [("a", 60)], weight=None if by_hand else 3) | enqueue(hand, [("b", 60), ("c", 60)])
    if by_hand:
        hand.sql("SELECT pgjobq.set_gate('mail', weights => '{\"a\": 3}')")
    look(hand)
    order = run_all(hand, owner, 50)
    counts = Counter(order)
    assert abs(counts["a"] - 30) <= 1, counts
    assert abs(counts["b"] - counts["c"]) <= 1
    assert max(sum(share != "a" for share in order[n : n + 5]) for n in range(45)) <= 3, "they are mixed, not in blocks"


def test_within_a_share_it_goes_by_priority_and_age(hand: Hand) -> None:
    owner = {}
    for name, priority in (("late", 5), ("first", 0), ("second", 0)):
        (job,) = put(hand, of("a"), priority=priority)
        owner[job] = name
    look(hand)
    assert run_all(hand, owner) == ["first", "second", "late"]


def test_whoever_sends_one_at_a_time_does_not_get_more_than_his_share(hand: Hand) -> None:
    owner = enqueue(hand, [("a", 40), ("b", 40)])
    owner |= enqueue(hand, [("sly", 1)])
    look(hand)
    order: list[str] = []
    while len(order) < 60:
        (lease,) = hand.claim()
        order.append(owner[lease.job])
        if owner[lease.job] == "sly":
            owner |= enqueue(hand, [("sly", 1)])
            look(hand)
        settle(hand, "s", lease)
    counts = Counter(order)
    assert counts["sly"] <= 21, counts


def test_whoever_was_away_has_saved_nothing(hand: Hand) -> None:
    owner = enqueue(hand, [("a", 100), ("b", 2)])
    look(hand)
    run_all(hand, owner, 50)
    owner |= enqueue(hand, [("b", 50)])
    look(hand)
    order = run_all(hand, owner, 20)
    assert abs(order.count("a") - order.count("b")) <= 1


def test_without_a_concurrency_as_many_are_let_through_as_workers_can_run(hand: Hand) -> None:
    owner = enqueue(hand, [("a", 500), ("b", 500)], concurrency=None)
    look(hand)
    leases = hand.claim(limit=1000)
    assert 10 <= len(leases) <= 60, "this worker has 10 slots"
    counts = Counter(owner[lease.job] for lease in leases)
    assert abs(counts["a"] - counts["b"]) <= 1
    look(hand)
    for lease in leases:
        settle(hand, "s", lease)
    assert hand.claim(), "and the next ones have been, as these ended"


def test_a_rate_is_shared_too(hand: Hand) -> None:
    hand.set_now("2026-03-10 12:00Z")
    owner = enqueue(hand, [("a", 50), ("b", 50)], concurrency=None, rate={"limit": 1, "per": 60, "burst": 6})
    look(hand)
    assert Counter(owner[lease.job] for lease in hand.claim()) == {"a": 3, "b": 3}


def test_two_gates_one_of_them_fair(hand: Hand) -> None:
    owner: dict[int, str] = {}
    for share in ("a", "b"):
        gates = [*of(share, concurrency=4), {"key": f"own:{share}", "concurrency": 1}]
        owner |= dict.fromkeys(put(hand, gates, 10), share)
    order: list[str] = []
    for _ in range(60):
        look(hand)
        leases = hand.claim()
        assert max(Counter(owner[lease.job] for lease in leases).values(), default=0) <= 1
        for lease in leases:
            order.append(owner[lease.job])
            settle(hand, "s", lease)
    assert Counter(order) == {"a": 10, "b": 10}


def test_jobs_of_before_there_were_shares_go_on(hand: Hand) -> None:
    owner = dict.fromkeys(put(hand, of(None), 10), "plain") | enqueue(hand, [("a", 10)])
    look(hand)
    order = run_all(hand, owner)
    assert sorted(order) == ["a"] * 10 + ["plain"] * 10
    assert order[:10].count("plain") >= 4


def test_a_retry_a_stray_and_a_rescue_come_to_their_share_again(hand: Hand) -> None:
    owner = enqueue(hand, [("a", 2)])
    look(hand)
    settle(hand, "again", hand.claim_one(), spare=1)
    lease = hand.claim_one()
    assert hand.say("stray", hand.id, []) == [(lease.job,)]
    look(hand)
    lease = hand.claim_one()
    hand.rescue([hand.id], started=[lease.job])
    hand.register()
    look(hand)
    assert sorted(run_all(hand, owner)) == ["a", "a"]


def test_what_people_see(hand: Hand) -> None:
    first, *_ = put(hand, of("acme"), 3)
    put(hand, of("zeta"), 2)
    look(hand)
    shown = figures(hand, "mail")
    assert (shown["holding"], shown["waiting"], shown["is_fair"], shown["limit"]) == (1, 4, True, 1)
    assert state(hand, first) == "ready"
    assert hand.value("SELECT reason FROM pgjobq.jobs WHERE id = $1", first + 1) == "waits for gate:mail as acme"


def test_an_open_transaction_of_an_enqueuer_blocks_nobody(hand: Hand, dsn: str) -> None:
    with psycopg.connect(dsn) as held:
        held.execute(
            "SELECT pgjobq.enqueue_many(%s)", [json.dumps([{"task": "send", "gates": of(s)} for s in ("a", "new")])]
        )
        hand.sql("SET lock_timeout = '5s'")
        owner = enqueue(hand, [("a", 3), ("b", 1)])
        look(hand)
        assert sorted(run_all(hand, owner)) == ["a", "a", "a", "b"]


def lag(order: list[str], weights: dict[str, int]) -> float:
    """How far a share came behind the others at most, in turns, while all of them had jobs: what it got per weight."""
    got = dict.fromkeys(weights, 0)
    worst = 0.0
    for share in order:
        got[share] += 1
        per_weight = [count / weights[name] for name, count in got.items()]
        worst = max(worst, max(per_weight) - min(per_weight))
    return worst


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(weights=st.lists(st.integers(1, 5), min_size=2, max_size=6), places=st.integers(1, 5))
def test_at_no_moment_is_a_share_more_than_a_turn_behind(hand: Hand, weights: list[int], places: int) -> None:
    tables = ("job", "finished", "ready", "running", "blocked", "gate_pass", "gate_look", "gate_meter", "gate_share")
    hand.sql(f"TRUNCATE {', '.join(f'pgjobq.{table}' for table in tables)}")
    by_share = {f"t{n}": weight for n, weight in enumerate(weights)}
    owner: dict[int, str] = {}
    for share, weight in by_share.items():
        owner |= enqueue(hand, [(share, 15 * weight)], weight=weight, concurrency=places)
    look(hand)
    order = run_all(hand, owner, 10 * sum(weights))
    assert lag(order, by_share) <= 1 + 1e-9 + (places > 1), order


def test_and_without_the_turns_it_would_be(hand: Hand) -> None:
    body = hand.value("SELECT pg_get_functiondef('pgjobq.take_turns'::regproc)")
    hand.sql(doctored(body, ("SET turn = t.turn", "SET turn = s.turn")))
    owner = enqueue(hand, [("a", 30), ("b", 30)])
    look(hand)
    assert lag(run_all(hand, owner, 20), {"a": 1, "b": 1}) > 5


def test_thousands_of_shares(hand: Hand) -> None:
    """The next ones are found without looking at all shares."""
    hand.sql("UPDATE pgjobq.worker SET concurrency = 100")
    jobs = [{"task": "send", "gates": of(f"t{n}", concurrency=50)} for n in range(2000) for _ in range(3)]
    ids = [job for (job,) in hand.sql("SELECT * FROM pgjobq.enqueue_many($1::text::jsonb)", json.dumps(jobs))]
    owner = {job: entry["gates"][0]["share"] for job, entry in zip(ids, jobs, strict=True)}
    for _ in range(3):
        look(hand)
    leases = hand.claim()
    assert len({owner[lease.job] for lease in leases}) == len(leases) == 50
    hand.sql("ANALYZE pgjobq.blocked")
    with hand.conn.transaction():
        for lease in leases:
            hand.settle_as("s", lease)
        before = hand.value("SELECT clock_timestamp()")
        hand.say("after", [lease.job for lease in leases])
        took = (hand.value("SELECT clock_timestamp()") - before).total_seconds()
    print(f"50 places given away among 2,000 shares in {took * 1000:.1f} ms")
    again = hand.claim()
    assert len({owner[lease.job] for lease in [*leases, *again]}) == 100, "nobody twice before all have had a turn"
    assert all(one != other for one, other in pairwise(sorted(owner[lease.job] for lease in again)))
