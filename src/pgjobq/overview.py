"""What a queue tells about itself: what waits and runs where, workers, gates, limits, pauses, and who did what. Plain
values, as those about jobs are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

__all__ = [
    "AuditEntry",
    "GateFigures",
    "Holder",
    "Pause",
    "QueueAgeing",
    "QueueLimit",
    "QueueStats",
    "QuotaFigures",
    "RateFigures",
    "Stats",
    "WorkerInfo",
]


@dataclass(frozen=True, slots=True)
class Pause:
    """A queue, a task or a gate whose jobs do not start."""

    kind: Literal["queue", "task", "gate"]
    name: str
    since: datetime
    until: datetime | None
    """When it ends by itself; None: not before somebody resumes it."""
    reason: str | None
    who: str


@dataclass(frozen=True, slots=True)
class Holder:
    """A job that has a place at a gate."""

    job: int
    task: str
    ref: str | None


@dataclass(frozen=True, slots=True)
class RateFigures:
    """A gate's rate, and what is left of it."""

    limit: int
    per: float
    """Seconds."""
    burst: int
    left: int
    """Jobs that may start at once, but for those that were let through and have not started."""
    next: float
    """Seconds until the next one may; 0: now."""


@dataclass(frozen=True, slots=True)
class QuotaFigures:
    """A gate's quota, and what is used of it."""

    limit: int
    per: str | float
    """day, week, month, or seconds."""
    tz: str | None
    used: int
    """Starts in this period, with the jobs that were let through and have not started."""
    ends: datetime
    """When the next period begins."""


@dataclass(frozen=True, slots=True)
class GateFigures:
    """One gate's key where jobs wait or hold places; a count that equals `cap` means that many or more."""

    key: str
    limit: int | None
    """Places, as somebody set them, else as its jobs say; None: there may be any number."""
    in_order: bool
    """One at a time, in the order of the calls."""
    holding: int
    waiting: int
    holders: tuple[Holder, ...]
    """The first few of those that have a place."""
    first: int | None
    """The first of those that wait, and since when it does."""
    since: datetime | None
    cap: int
    rate: RateFigures | None = None
    quota: QuotaFigures | None = None
    is_fair: bool = False
    """Its places go round between the values of `fair`."""
    weights: dict[str, int] | None = None
    """Of shares, as somebody set them."""
    pause: Pause | None = None
    set_at: datetime | None = None
    """When somebody last set a limit of it."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Something that an operator did."""

    id: int
    at: datetime
    who: str
    what: str
    """retry, cancel, move, pause, resume, …"""
    jobs: int | None
    """How many jobs it changed; None: it was not about single jobs."""
    about: dict[str, Any]
    """What it was about: the filter, the queue or the job, with the reason."""


@dataclass(frozen=True, slots=True)
class QueueLimit:
    """How many jobs may wait in a queue."""

    queue: str
    waiting: int
    """The most that may wait."""
    when_full: str
    """`raise` or `drop_oldest`."""
    set_at: datetime
    who: str
    now: int
    """How many wait now."""


@dataclass(frozen=True, slots=True)
class QueueAgeing:
    """How the jobs of a queue rise in priority while they wait."""

    queue: str
    step: float
    """Seconds that a job has waited, ready, for each priority that it has risen."""
    up_to: int
    """They rise no higher."""
    set_at: datetime
    who: str


@dataclass(frozen=True, slots=True)
class QueueStats:
    """What waits and runs in one queue now."""

    name: str
    ready: int
    running: int
    scheduled: int
    blocked: int
    oldest: datetime | None
    """When the oldest of its ready jobs was enqueued."""
    workers: int
    """Live worker processes that serve it."""
    paused: bool


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """One worker process that is on the list."""

    id: str
    app: str
    host: str
    pid: int
    version: str
    started_at: datetime
    beat_at: datetime
    expires_at: datetime
    """When its lease runs out, unless it beats again."""
    alive: bool
    concurrency: int
    running: int
    queues: tuple[str, ...]
    """Empty: all of them."""
    tasks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stats:
    """How many jobs there are in each state, and the pace."""

    ready: int
    running: int
    scheduled: int
    blocked: int
    failed: int
    cancelled: int
    succeeded: int
    """An estimate, as of the last ANALYZE; the others are exact."""
    finished_last_minute: int
    failed_last_hour: int
    workers: int
    """Live worker processes."""
