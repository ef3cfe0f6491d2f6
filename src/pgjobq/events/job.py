"""What happens to jobs."""

from __future__ import annotations

from dataclasses import dataclass

from pgjobq.events.event import Event

__all__ = [
    "JobDiscarded",
    "JobEvent",
    "JobFailed",
    "JobParked",
    "JobRetried",
    "JobSnoozed",
    "JobStarted",
    "JobSucceeded",
    "JobWaits",
    "JobsReturned",
    "LeaseLost",
    "MoreSucceeded",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent(Event):
    """Base of what happens to one attempt of one job."""

    job: int
    task: str
    queue: str
    attempt: int
    max_attempts: int
    ref: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStarted(JobEvent):
    """An attempt begins; `waited`: since the job became due."""

    waited: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSucceeded(JobEvent):
    """An attempt succeeded and that is committed."""

    ran: float
    waited: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRetried(JobEvent):
    """An attempt failed; the job runs again after `delay`."""

    ran: float
    delay: float
    error: str
    error_message: str
    traceback: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFailed(JobEvent):
    """An attempt failed and the job is given up: a dead letter."""

    ran: float
    error: str
    error_message: str
    traceback: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSnoozed(JobEvent):
    """The handler asked to run again after `delay`; no attempt of the budget is spent."""

    ran: float
    delay: float


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDiscarded(JobEvent):
    """The handler ended the job as cancelled."""

    ran: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobParked(JobEvent):
    """This worker cannot run the job (its task is unknown here); it waits for one that can."""

    waits_for: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobWaits(JobEvent):
    """The handler waits for the event `waits_for` in the midst of its work, without holding a worker; another attempt
    goes on from there."""

    ran: float
    waits_for: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseLost(JobEvent):
    """The attempt no longer held its job: what it reported (`outcome`) was thrown away."""

    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MoreSucceeded(Event):
    """Jobs that succeeded without a line of their own, because there were too many of them."""

    jobs: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsReturned(Event):
    """Jobs claimed but not begun went back to their queue."""

    jobs: int
