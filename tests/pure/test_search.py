"""How many jobs a search looks at next."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgjobq.job import JobState
from pgjobq.search import FIRST, GROWTH, LARGEST, Portions, added, passes_all
from pgjobq.statements.survey import FailureGroup, Failures, Filter

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def walk(seconds: float | None, most: int, cost: float, jobs: int) -> list[int]:
    """The portions of a search through so many jobs, where each takes `cost` seconds."""
    now = 0.0
    portions = Portions(seconds, most, lambda: now)
    sizes: list[int] = []
    while True:
        sizes.append(portions.size)
        now += cost * portions.size
        if sum(sizes) >= jobs or not portions.go_on(sum(sizes)):
            return sizes


@given(st.floats(1e-7, 1e-2), st.integers(1, 300_000))
def test_a_search_ends_in_time_whatever_a_job_costs(cost: float, jobs: int) -> None:
    sizes = walk(0.06, 100_000, cost, jobs)
    assert sizes[0] == FIRST
    assert sum(sizes) <= 100_000
    assert all(later <= GROWTH * before for before, later in itertools.pairwise(sizes))
    assert sum(sizes[:-1]) * cost <= 0.06
    assert sum(sizes) * cost <= max(0.0601, FIRST * cost)


def test_portions_grow_where_it_goes_quickly() -> None:
    assert walk(0.06, 100_000, 1e-6, 10**6)[:3] == [250, 1000, 4000]
    assert sum(walk(0.06, 100_000, 1e-7, 10**6)) == 100_000
    assert walk(0.06, 100_000, 1e-3, 10**6) == [250]


def test_without_a_limit_a_search_goes_on_to_the_end() -> None:
    sizes = walk(None, 100, 1.0, 10**6)
    assert sum(sizes) >= 10**6
    assert max(sizes) == LARGEST


def test_what_is_left_is_never_less_than_nothing() -> None:
    now = 0.0
    portions = Portions(0.06, 1000, lambda: now)
    assert portions.left == 0.06
    now = 7.0
    assert portions.left == 0
    assert not portions.go_on(250)


@pytest.mark.parametrize(
    ("wanted", "passes"),
    [
        (Filter(), True),
        (Filter(state=JobState.FAILED), True),
        (Filter(ref="order:1"), True),
        (Filter(workflow=7), True),
        (Filter(state=JobState.READY, queue="mail"), True),
        (Filter(state=JobState.BLOCKED, queue="mail"), False),
        (Filter(queue="mail"), False),
        (Filter(workflow=7, state=JobState.READY), False),
        (Filter(ref="order:1", state=JobState.READY), False),
        (Filter(since=NOON), False),
    ],
)
def test_a_filter_that_nothing_is_left_of_is_known(wanted: Filter, passes: bool) -> None:
    assert passes_all(wanted) is passes


def group(name: str, jobs: int, newest: int, hours: tuple[int, int]) -> FailureGroup:
    first, last = (NOON - timedelta(hours=each) for each in hours)
    return FailureGroup(name, "send", "KeyError", f"message {newest}", jobs, newest, first, last)


def test_groups_of_failures_are_added_up_and_the_newest_speaks() -> None:
    newer = Failures([group("a", 3, 90, (2, 1)), group("b", 2, 80, (2, 2))], "key", 5)
    older = Failures([group("b", 4, 40, (9, 5)), group("c", 1, 30, (7, 7))], None, 5)
    both = added(newer, older)
    assert [(one.fingerprint, one.jobs, one.newest) for one in both.groups] == [
        ("b", 6, 80),
        ("a", 3, 90),
        ("c", 1, 30),
    ]
    assert (both.groups[0].message, both.groups[0].first_at) == ("message 80", NOON - timedelta(hours=9))
    assert both.groups[0].last_at == NOON - timedelta(hours=2)
    assert (both.after, both.searched) == (None, 10)
