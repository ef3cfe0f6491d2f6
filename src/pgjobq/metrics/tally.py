"""What a worker counts. Its processes hand over what they have counted, and the supervisor adds it up: so a process
that is replaced takes nothing with it, and there is one place to ask."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import Any

from pgjobq.events import Event, JobEvent, JobsTakenBack
from pgjobq.metrics.family import Family

__all__ = ["MOST_SERIES", "OTHER", "Tally"]

MOST_SERIES = 200
"""Pairs of queue and task that are told apart; what comes beyond them is counted as `(other)`: names may come from
outside, and each costs Prometheus some forty series."""
OTHER = ("(other)", "(other)")

WAITS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0)
RUNS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
SIZES = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
FROM_THE_START = ("succeeded", "retried", "failed", "lost")
ALARMING = ("process_died", "connection_lost", "chore_failed")
"""Told also while they are 0: Prometheus sees no increase in a series that begins with 1."""
OUTCOMES = ("succeeded", "retried", "failed", "snoozed", "awaiting", "discarded", "parked", "returned", "lost")


class Histogram:
    """How many values lie up to each bound, and their sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """One value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def merge(self, told: list[Any]) -> None:
        """The counts of another one, as `told` tells them."""
        counts, total = told
        self.counts = [a + b for a, b in zip(self.counts, counts, strict=True)]
        self.sum += total

    @property
    def told(self) -> list[Any]:
        """Its counts as JSON values."""
        return [self.counts, self.sum]


class Series:
    """What is counted for one task in one queue."""

    __slots__ = ("ended", "runs", "started", "waits")

    def __init__(self) -> None:
        self.started = 0
        self.ended: dict[str, int] = {}
        self.waits = Histogram(WAITS)
        self.runs = Histogram(RUNS)


class Tally:
    """Counts from the start on; or since they were last handed over, where somebody takes them.

    Args:
        give: takes the counts as JSON values, and says whether it could; None: they stay here.
    """

    def __init__(self, give: Callable[[dict[str, Any]], bool] | None = None) -> None:
        self._give = give
        self._clear()

    def _clear(self) -> None:
        self._series: dict[tuple[str, str], Series] = {}
        self._events: dict[str, int] = {}
        self._taken_back = 0
        self.claims = Histogram(SIZES)
        self.settles = Histogram(SIZES)

    # ------------------------------------------------------------------------------------------ counting

    def expect(self, tasks: Iterable[tuple[str, str]]) -> None:
        """Tell of these pairs of queue and task from the start on, with zeros."""
        for queue, task in tasks:
            self._of(queue, task)

    def started(self, queue: str, task: str, waited: float | None) -> None:
        """An attempt begins, of a job that was ready for `waited` seconds; None: nobody knows."""
        series = self._of(queue, task)
        series.started += 1
        if waited is not None:
            series.waits.add(waited)

    def ended(self, queue: str, task: str, outcome: str, ran: float | None) -> None:
        """An attempt's outcome is committed; None: it never ran."""
        series = self._of(queue, task)
        series.ended[outcome] = series.ended.get(outcome, 0) + 1
        if ran is not None:
            series.runs.add(ran)

    def hear(self, event: Event) -> None:
        """Something has happened that is not about one job."""
        if isinstance(event, JobEvent):
            return
        name = event.name()
        self._events[name] = self._events.get(name, 0) + 1
        if isinstance(event, JobsTakenBack):
            self._taken_back += event.jobs + event.failed

    def _of(self, queue: str, task: str) -> Series:
        key = queue, task
        series = self._series.get(key)
        if series is None:
            if len(self._series) >= MOST_SERIES:
                key = OTHER
            series = self._series.setdefault(key, Series())
        return series

    # ------------------------------------------------------------------------------------------ adding up

    def hand_over(self) -> None:
        """Give what has been counted since the last time, if there is something and somebody takes it."""
        if self._give is None or not (self._series or self._events or self._taken_back or sum(self.settles.counts)):
            return
        if self._give(self.told):
            self._clear()

    @property
    def told(self) -> dict[str, Any]:
        """All counts as JSON values."""
        return {
            "series": [[*key, s.started, s.ended, s.waits.told, s.runs.told] for key, s in list(self._series.items())],
            "events": dict(self._events),
            "taken_back": self._taken_back,
            "claims": self.claims.told,
            "settles": self.settles.told,
        }

    def merge(self, told: dict[str, Any]) -> None:
        """Add what another one has told."""
        for queue, task, started, ended, waits, runs in told["series"]:
            series = self._of(queue, task)
            series.started += started
            for outcome, count in ended.items():
                series.ended[outcome] = series.ended.get(outcome, 0) + count
            series.waits.merge(waits)
            series.runs.merge(runs)
        for name, count in told["events"].items():
            self._events[name] = self._events.get(name, 0) + count
        self._taken_back += told["taken_back"]
        self.claims.merge(told["claims"])
        self.settles.merge(told["settles"])

    # ------------------------------------------------------------------------------------------ showing

    def families(self) -> list[Family]:
        """The counts as metrics."""
        started = Family("pgjobq_attempts_started", "counter", "Attempts begun.")
        ended = Family(
            "pgjobq_attempts_ended", "counter",
            "Attempts that ended, by what became of the job: succeeded, retried (it failed and is tried again), failed "
            "(for good), snoozed, awaiting (an event), discarded, parked (no such task here), returned (never "
            "begun), lost (the lease).",
        )  # fmt: skip
        waits = Family(
            "pgjobq_job_wait_seconds", "histogram",
            "From enqueue to the start of the first attempt, of jobs that could start at once.",
        )  # fmt: skip
        runs = Family("pgjobq_attempt_run_seconds", "histogram", "How long an attempt's handler ran.")
        for (queue, task), series in sorted(self._series.items()):
            labels = {"queue": queue, "task": task}
            started.add(series.started, **labels)
            for outcome in OUTCOMES:
                if outcome in series.ended or outcome in FROM_THE_START:
                    ended.add(series.ended.get(outcome, 0), **labels, outcome=outcome)
            waits.add_histogram(WAITS, series.waits.counts, series.waits.sum, **labels)
            runs.add_histogram(RUNS, series.runs.counts, series.runs.sum, **labels)
        claims = Family("pgjobq_claim_batch_jobs", "histogram", "Jobs claimed at once, where there were any.")
        claims.add_histogram(SIZES, self.claims.counts, self.claims.sum)
        settles = Family("pgjobq_settle_batch_jobs", "histogram", "Outcomes written at once.")
        settles.add_histogram(SIZES, self.settles.counts, self.settles.sum)
        taken_back = Family(
            "pgjobq_jobs_taken_back", "counter", "Jobs taken back from workers that died or lost contact."
        )
        taken_back.add(self._taken_back)
        events = Family("pgjobq_events", "counter", "What happened in the worker besides jobs, by the event's name.")
        for name, count in sorted((dict.fromkeys(ALARMING, 0) | self._events).items()):
            events.add(count, event=name)
        return [started, ended, waits, runs, claims, settles, taken_back, events]
