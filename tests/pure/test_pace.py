"""How much a worker claims: by how quickly jobs end, however slow the database is."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from pgjobq.engine.intake import AHEAD, LARGEST_CLAIM, Intake
from pgjobq.engine.pace import DOUBT, Pace

PLACES = 100


@dataclass
class Bench:
    """A worker whose jobs take `each` seconds of a place, and a database that takes `trip` seconds to answer."""

    intake: Intake
    each: float
    trip: float
    now: float = 1.0
    buffered: int = 0
    claimed: int = 0

    def turn(self) -> int:
        """One round trip: what is at hand is run meanwhile. Gives how much was asked for."""
        want = self.intake.demand(0, self.buffered)
        self._run_for(self.trip)
        if want:
            self.buffered += want
            self.intake.pace.fill(self.now)
        return want

    def _run_for(self, seconds: float) -> None:
        ran = min(self.buffered, int(seconds * PLACES / self.each))
        self.buffered -= ran
        self.now += ran * self.each / PLACES
        seconds -= ran * self.each / PLACES
        self.intake.pace.ended += ran
        if not self.buffered:
            self.intake.pace.starve(self.now, 0)
        self.now += seconds


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Bench]:
    def make(each: float, trip: float) -> Bench:
        bench = Bench(Intake(PLACES, 1.0, None, announces=False), each, trip)
        monkeypatch.setattr(time, "monotonic", lambda: bench.now)
        return bench

    return make


@pytest.mark.parametrize("trip", [0.008, 0.05, 0.3])
def test_short_jobs_are_claimed_in_the_largest_claims_however_slow_the_database(
    bench: Callable[..., Bench], trip: float
) -> None:
    """By the clock, two round trips of 25 ms a claim made claims of 650 jobs, 11,000 a second; 300 ms made them 120."""
    worker = bench(each=0.0006, trip=trip)
    asked = [worker.turn() for _ in range(20)]
    assert max(asked[:8]) == LARGEST_CLAIM
    assert sum(asked[-10:]) >= 0.9 * 10 * min(LARGEST_CLAIM, trip * PLACES / worker.each)


def test_it_recovers_from_slow_jobs_and_a_slow_database(bench: Callable[..., Bench]) -> None:
    worker = bench(each=0.5, trip=0.005)
    for _ in range(500):
        worker.turn()
    worker.buffered, worker.each, worker.trip = 0, 0.0006, 0.2
    asked = [worker.turn() for _ in range(30)]
    assert asked[-1] == LARGEST_CLAIM
    assert asked.index(LARGEST_CLAIM) < 15


@pytest.mark.parametrize("each", [0.02, 0.1, 1.0, 60.0])
def test_long_jobs_are_not_claimed_ahead_of_what_starts_soon(bench: Callable[..., Bench], each: float) -> None:
    worker = bench(each=each, trip=0.002)
    for _ in range(2000):
        worker.turn()
        assert worker.buffered <= PLACES + 1.3 * AHEAD * PLACES / each + PLACES / each * DOUBT


def test_of_jobs_that_have_not_ended_yet_nothing_is_believed() -> None:
    intake = Intake(PLACES, 1.0, None, announces=False)
    assert intake.demand(0, 0) == PLACES
    intake.pace.fill(time.monotonic())
    assert intake.demand(PLACES, 0) == 0


def test_what_ran_before_a_worker_ran_dry_says_nothing_of_what_comes() -> None:
    pace = Pace(PLACES)
    pace.fill(0.0)
    pace.ended = 10_000
    assert pace.per_second(0.06) > 50_000
    pace.forget()
    assert pace.per_second(0.06) == 0


def test_one_long_job_among_short_ones_takes_one_place_only() -> None:
    """The rest of the time nothing was there to run: so a full worker would be a hundred times as quick."""
    pace = Pace(PLACES)
    pace.starve(0.0, 1)
    pace.ended = 50
    assert pace.per_second(5.0) == pytest.approx(50 / (5.0 / PLACES), rel=0.5)
