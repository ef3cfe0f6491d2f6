"""What a worker process tells: each outcome as an event, and the sums."""

from __future__ import annotations

import logging
import time
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
    LeaseLost,
)
from pgjobq.logs import LOGGER, Journal
from pgjobq.outcome import Discarded, Failed, Failure, Outcome, Parked, Retried, Returned, Snoozed, Succeeded

__all__ = ["Report"]


class Report:
    """Counts outcomes once they are settled, and tells the journal of those worth a line."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.tells_starts = logging.getLogger(LOGGER).isEnabledFor(logging.DEBUG)
        """Whether `started` is worth calling."""
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

    def started(self, attempt: Attempt) -> None:
        """An attempt begins (told at level debug)."""
        waited = max(0.0, time.time() - attempt.lease.enqueued_at)
        self._journal.emit(JobStarted(**_about(attempt.lease), waited=waited))

    def succeeded_plainly(self, attempt: Attempt) -> None:
        """The common case of `settled`, without its questions."""
        self.succeeded += 1
        if self._journal.note_success():
            self._journal.emit(JobSucceeded(**_about(attempt.lease), ran=attempt.ran))

    def settled(self, lease: Lease, outcome: Outcome, attempt: Attempt | None) -> None:
        """An outcome is committed."""
        ran = attempt.ran if attempt is not None else 0.0
        match outcome:
            case Succeeded():
                self.succeeded += 1
                if self._journal.note_success():
                    self._journal.emit(JobSucceeded(**_about(lease), ran=ran))
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
            case Parked(waits_for):
                self._journal.emit(JobParked(**_about(lease), waits_for=waits_for))
            case Returned():
                self.returned += 1

    def lost(self, lease: Lease, outcome: Outcome) -> None:
        """An outcome was thrown away: the job is somebody else's by now."""
        self._journal.emit(LeaseLost(**_about(lease), outcome=type(outcome).__name__.lower()))


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
