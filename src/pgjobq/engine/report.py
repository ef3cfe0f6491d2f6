"""What a worker process tells: each outcome as an event, and the sums."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from pgjobq.engine.attempt import Attempt
from pgjobq.engine.lease import Lease
from pgjobq.events import (
    Event,
    JobDiscarded,
    JobFailed,
    JobParked,
    JobRetried,
    JobSnoozed,
    JobStarted,
    JobSucceeded,
    JobWaits,
    LeaseLost,
)
from pgjobq.listeners import Listeners
from pgjobq.logs import LOGGER, Journal
from pgjobq.metrics import Tally
from pgjobq.outcome import Awaiting, Discarded, Failed, Failure, Outcome, Parked, Retried, Returned, Snoozed, Succeeded

__all__ = ["Report"]


CHURN_TOLD = 5_000
"""Settled jobs of which upkeep is told at once."""


class Report:
    """Counts outcomes once they are settled, and tells the journal of those worth a line.

    Args:
        churn: told how many leases have gone, some thousand at a time.
    """

    def __init__(
        self,
        journal: Journal,
        listeners: Listeners | None = None,
        tally: Tally | None = None,
        churn: Callable[[int], object] | None = None,
    ) -> None:
        self._journal = journal
        self._tally = tally
        self._churn, self._gone = churn, 0
        self._hears_starts = listeners is not None and listeners.wants(JobStarted)
        self._hears_successes = listeners is not None and listeners.wants(JobSucceeded)
        self._is_watched = self._hears_successes or tally is not None
        self._writes_starts = logging.getLogger(LOGGER).isEnabledFor(logging.DEBUG)
        self.tells_starts = self._writes_starts or self._hears_starts or tally is not None
        """Whether `started` is worth calling."""
        self._tell = listeners.tell if listeners is not None else _nobody
        if listeners is not None:
            journal.listen(listeners.tell)
        if tally is not None:
            journal.listen(tally.hear)
        self.succeeded = 0
        self.retried = 0
        self.failed = 0
        self.returned = 0

    def say(self, event: Event) -> None:
        """Tell something that is not about one job."""
        self._journal.emit(event)

    def tick(self) -> None:
        """About once a second: lines that were folded together are written."""
        self._journal.tick()
        if self._tally is not None:
            self._tally.hand_over()

    def claimed(self, jobs: int) -> None:
        """So many jobs came in one claim."""
        if self._tally is not None and jobs:
            self._tally.claims.add(jobs)

    def batch(self, outcomes: int) -> None:
        """So many outcomes went in one statement."""
        if self._tally is not None and outcomes:
            self._tally.settles.add(outcomes)
        self._gone += outcomes
        if self._gone >= CHURN_TOLD and self._churn is not None:
            self._churn(self._gone)
            self._gone = 0

    def started(self, attempt: Attempt) -> None:
        """An attempt begins (written at level debug)."""
        lease = attempt.lease
        waited = max(0.0, time.time() - lease.enqueued_at)
        if self._tally is not None:
            # Its first seq is its id: it was ready at once when it was enqueued. When others became due, nobody knows.
            self._tally.started(lease.queue, lease.task, waited if lease.seq == lease.job else None)
        if self._writes_starts:
            self._journal.emit(JobStarted(**_about(lease), waited=waited))
        elif self._hears_starts:
            self._tell(JobStarted(**_about(lease), waited=waited))

    def succeeded_plainly(self, attempt: Attempt) -> None:
        """The common case of `settled`, without its questions."""
        if self._is_watched:
            self._note_success(attempt.lease, attempt.ran)
            return
        self.succeeded += 1
        if self._journal.note_success():
            self._journal.emit(JobSucceeded(**_about(attempt.lease), ran=attempt.ran))

    def settled(self, lease: Lease, outcome: Outcome, attempt: Attempt | None) -> None:
        """An outcome is committed."""
        ran = attempt.ran if attempt is not None else 0.0
        if self._tally is not None and not isinstance(outcome, Succeeded):
            self._tally.ended(lease.queue, lease.task, type(outcome).__name__.lower(), ran if attempt else None)
        match outcome:
            case Succeeded():
                self._note_success(lease, ran)
            case Retried(delay, failure):
                self.retried += 1
                self._journal.emit(JobRetried(**_about(lease), **_told(failure), ran=ran, delay=delay))
            case Failed(failure):
                self.failed += 1
                self._journal.emit(JobFailed(**_about(lease), **_told(failure), ran=ran))
            case Discarded(reason):
                self._journal.emit(JobDiscarded(**_about(lease), ran=ran, reason=reason))
            case Snoozed(delay):
                self._journal.emit(JobSnoozed(**_about(lease), ran=ran, delay=delay))
            case Awaiting(event):
                self._journal.emit(JobWaits(**_about(lease), ran=ran, waits_for=event))
            case Parked(waits_for):
                self._journal.emit(JobParked(**_about(lease), waits_for=waits_for))
            case Returned():
                self.returned += 1

    def lost(self, lease: Lease, outcome: Outcome) -> None:
        """An outcome was thrown away: the job is somebody else's by now."""
        if self._tally is not None:
            self._tally.ended(lease.queue, lease.task, "lost", None)
        self._journal.emit(LeaseLost(**_about(lease), outcome=type(outcome).__name__.lower()))

    def _note_success(self, lease: Lease, ran: float) -> None:
        self.succeeded += 1
        if self._tally is not None:
            self._tally.ended(lease.queue, lease.task, "succeeded", ran)
        if self._journal.note_success():
            self._journal.emit(JobSucceeded(**_about(lease), ran=ran))
        elif self._hears_successes:
            self._tell(JobSucceeded(**_about(lease), ran=ran))


def _nobody(_: Event) -> None:
    """Listens when nobody does."""


def _about(lease: Lease) -> dict[str, Any]:
    return {
        "job": lease.job,
        "task": lease.task,
        "queue": lease.queue,
        "attempt": lease.attempt,
        "max_attempts": lease.max_attempts,
        "ref": lease.ref,
    }


def _told(failure: Failure) -> dict[str, Any]:
    return {"error": failure.kind, "error_message": failure.message, "traceback": failure.traceback}
