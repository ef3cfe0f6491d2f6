"""What happens to jobs."""

from __future__ import annotations

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


class JobEvent(Event, frozen=True, kw_only=True):
    """Base of what happens to one attempt of one job."""

    job: int
    task: str
    queue: str
    attempt: int
    max_attempts: int
    ref: str | None = None


class JobStarted(JobEvent, frozen=True, kw_only=True):
    """An attempt begins; `waited`: since the job became due."""

    waited: float | None = None


class JobSucceeded(JobEvent, frozen=True, kw_only=True):
    """An attempt succeeded and that is committed."""

    ran: float
    waited: float | None = None


class JobRetried(JobEvent, frozen=True, kw_only=True):
    """An attempt failed; the job runs again after `delay`."""

    ran: float
    delay: float
    error: str
    error_message: str
    traceback: str = ""


class JobFailed(JobEvent, frozen=True, kw_only=True):
    """An attempt failed and the job is given up: a dead letter."""

    ran: float
    error: str
    error_message: str
    traceback: str = ""


class JobSnoozed(JobEvent, frozen=True, kw_only=True):
    """The handler asked to run again after `delay`; no attempt of the budget is spent."""

    ran: float
    delay: float


class JobDiscarded(JobEvent, frozen=True, kw_only=True):
    """The handler ended the job as cancelled."""

    ran: float
    reason: str


class JobParked(JobEvent, frozen=True, kw_only=True):
    """This worker cannot run the job (its task is unknown here); it waits for one that can."""

    waits_for: str


class JobWaits(JobEvent, frozen=True, kw_only=True):
    """The handler waits for the event `waits_for` in the midst of its work, without holding a worker; another attempt
    goes on from there."""

    ran: float
    waits_for: str


class LeaseLost(JobEvent, frozen=True, kw_only=True):
    """The attempt no longer held its job: what it reported (`outcome`) was thrown away."""

    outcome: str


class MoreSucceeded(Event, frozen=True, kw_only=True):
    """Jobs that succeeded without a line of their own, because there were too many of them."""

    jobs: int
    seconds: float


class JobsReturned(Event, frozen=True, kw_only=True):
    """Jobs claimed but not begun went back to their queue."""

    jobs: int
