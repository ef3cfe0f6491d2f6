"""A job as people read it: what it does, how it stands, what went wrong and what comes next."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from pgjobq import AttemptError, Job, JobState

from ..events import on_order_placed
from ..rendering import show_duration, show_time, templates

_BADGES = {
    JobState.SCHEDULED: "waiting",
    JobState.BLOCKED: "blocked",
    JobState.READY: "in line",
    JobState.RUNNING: "running",
    JobState.SUCCEEDED: "done",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "cancelled",
}


@dataclass(frozen=True, slots=True)
class Progress:
    """One job and its failed attempts, in words."""

    job: Job
    errors: tuple[AttemptError, ...]
    now: datetime

    @classmethod
    def of(cls, job: Job, errors: list[AttemptError]) -> Progress:
        return cls(job, tuple(errors), datetime.now(UTC))

    @property
    def title(self) -> str:
        return on_order_placed.title_of(self.job.task)

    @property
    def badge(self) -> str:
        return "retrying" if self.retrying else _BADGES[self.job.state]

    @property
    def retrying(self) -> bool:
        return self.job.state in (JobState.SCHEDULED, JobState.READY) and self.job.attempt > 0

    @property
    def tone(self) -> str:
        """The badge's colour: good, bad, busy or calm."""
        if self.retrying or self.job.state in (JobState.RUNNING, JobState.BLOCKED):
            return "busy"
        good_or_bad = {JobState.SUCCEEDED: "good", JobState.FAILED: "bad", JobState.CANCELLED: "bad"}
        return good_or_bad.get(self.job.state, "calm")

    @property
    def ended(self) -> bool:
        return self.job.state in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)

    @property
    def stuck(self) -> bool:
        """It gave up: only a person makes it run again."""
        return self.job.state in (JobState.FAILED, JobState.CANCELLED)

    @property
    def attempts(self) -> str:
        made = self.job.attempt
        if self.job.state is JobState.SUCCEEDED:
            return str(made)
        # After a retry by hand the count goes on while the budget starts afresh: "9 of 5" would puzzle
        # people.
        return f"{made} of {self.job.max_attempts}" if made <= self.job.max_attempts else str(made)

    @property
    def next_try(self) -> str:
        """When it runs again: a moment for what waits, a word for everything else."""
        job = self.job
        if job.state is JobState.SCHEDULED and job.run_at is not None:
            wait = (job.run_at - self.now).total_seconds()
            return f"in {show_duration(wait)}" if wait > 0 else "now"
        if job.state is JobState.READY:
            return "as soon as a worker is free"
        if job.state is JobState.BLOCKED:
            return job.reason or "blocked"
        return "when you press the button" if self.stuck else "—"

    @property
    def sentence(self) -> str:
        job = self.job
        match job.state:
            case JobState.SUCCEEDED:
                took = (job.finished_at - job.started_at).total_seconds() if job.finished_at and job.started_at else 0
                return f"Done at {show_time(job.finished_at)}, in {show_duration(took)}."
            case JobState.FAILED:
                return f"Gave up after {job.attempt} attempt{'s' if job.attempt != 1 else ''}."
            case JobState.CANCELLED:
                return f"Cancelled: {job.reason or 'no reason was given'}."
            case JobState.RUNNING:
                return f"Running since {show_time(job.started_at)}."
            case JobState.BLOCKED:
                return "Waits for something other than time."
            case _:
                return "Will be tried again by itself." if self.retrying else "Not started yet."

    @property
    def last_error(self) -> str:
        """What the latest failed attempt said, when it still matters."""
        if not self.errors or self.job.state is JobState.SUCCEEDED:
            return ""
        last = max(self.errors, key=lambda error: error.attempt)
        return what_went_wrong(last)


def what_went_wrong(error: AttemptError) -> str:
    """The exception as support staff want it: without the module it lives in."""
    return f"{error.kind.rpartition('.')[2]}: {error.message}"


templates.filters["wrong"] = what_went_wrong
