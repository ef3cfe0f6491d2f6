"""A job's life as a time line, and in a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pgjobq.job import AttemptError, Job, JobState

__all__ = ["Event", "life_of", "why"]


@dataclass(frozen=True, slots=True)
class Event:
    """One point of a job's life; `kind` is a state's name or `asked`, `retry`."""

    kind: str
    title: str
    at: datetime | None
    seconds: float | None = None
    """How long it took, where it took time."""
    anchor: str | None = None
    """Where on the page its details are."""


def life_of(job: Job, errors: Sequence[AttemptError]) -> list[Event]:
    """What happened, the first thing first; what is to come is last."""
    events = [Event("asked", "enqueued", job.created_at)]
    for place, error in enumerate(errors):
        took = (error.failed_at - error.started_at).total_seconds()
        title = f"attempt {error.attempt} failed: {error.kind}"
        events.append(Event("failed", title, error.failed_at, took, f"error-{place + 1}"))
    return events + _end(job)


def _end(job: Job) -> list[Event]:
    took = (job.finished_at - job.started_at).total_seconds() if job.finished_at and job.started_at else None
    match job.state:
        case JobState.SUCCEEDED:
            return [Event("succeeded", f"attempt {job.attempt} succeeded", job.finished_at, took)]
        case JobState.FAILED:
            return [Event("failed", "given up", job.finished_at)]
        case JobState.CANCELLED:
            return [Event("cancelled", "cancelled", job.finished_at)]
        case JobState.RUNNING:
            return [Event("running", f"attempt {job.attempt} runs", job.started_at)]
        case JobState.SCHEDULED:
            return [Event("scheduled", f"attempt {job.attempt + 1} is due", job.run_at)]
        case JobState.BLOCKED:
            return [Event("blocked", job.reason or "waits", None)]
        case _:
            return [Event("ready", f"attempt {job.attempt + 1} may start at once", None)]


def why(job: Job, errors: Sequence[AttemptError]) -> str:
    """In a sentence: why it stands where it does."""
    match job.state:
        case JobState.SUCCEEDED:
            return "Done." if job.attempt == 1 else f"Done, at the attempt number {job.attempt}."
        case JobState.FAILED:
            tried = "once" if job.attempt == 1 else f"{job.attempt} times"
            return f"It was tried {tried} and given up. The last time: {_last(job, errors)}"
        case JobState.CANCELLED:
            return f"It will not run: {job.reason or 'cancelled'}."
        case JobState.RUNNING:
            return f"A worker runs it since {_clock(job.started_at)}: attempt {job.attempt} of {job.max_attempts}."
        case JobState.SCHEDULED if errors:
            return f"It failed and is tried again at {_clock(job.run_at)}. The last time: {_last(job, errors)}"
        case JobState.SCHEDULED:
            return f"It is to run at {_clock(job.run_at)}."
        case JobState.BLOCKED:
            return f"It {job.reason}."
        case _:
            return f"It may start at once, as soon as a worker of the queue {job.queue} has a free place."


def _last(job: Job, errors: Sequence[AttemptError]) -> str:
    if errors:
        return f"{errors[-1].kind}: {errors[-1].message}"
    return job.reason or "nothing is known about it."


def _clock(moment: datetime | None) -> str:
    return moment.astimezone(UTC).strftime("%H:%M:%S UTC on %Y-%m-%d") if moment else "some time"
