"""The database, as a worker sees it, and upkeep."""

from __future__ import annotations

from pgjobq.events.event import Event

__all__ = [
    "ChoreFailed",
    "ConnectionBack",
    "ConnectionLost",
    "HistoryPruned",
    "JobsTakenBack",
    "Polling",
    "SchemaNewer",
    "TickLeftOut",
    "VacuumRefused",
]


class ConnectionLost(Event, frozen=True, kw_only=True):
    """A connection broke; `purpose` is what it was for (`claims`, `listener`, `heartbeat`)."""

    purpose: str
    error: str
    error_message: str


class ConnectionBack(Event, frozen=True, kw_only=True):
    """The connection is there again after `seconds`."""

    purpose: str
    seconds: float


class Polling(Event, frozen=True, kw_only=True):
    """There are no notifications, so that jobs are looked for every `poll_interval`; `reason` says why."""

    reason: str
    poll_interval: float


class JobsTakenBack(Event, frozen=True, kw_only=True):
    """A dead worker's jobs were taken back: `jobs` run again, `failed` had no attempt left. `reason`: how it died."""

    worker: str
    reason: str
    jobs: int
    failed: int = 0


class HistoryPruned(Event, frozen=True, kw_only=True):
    """Retention deleted old jobs."""

    jobs: int
    seconds: float


class VacuumRefused(Event, frozen=True, kw_only=True):
    """Upkeep may not vacuum a churning table: claims will slow down under load."""

    table: str
    reason: str


class ChoreFailed(Event, frozen=True, kw_only=True):
    """A chore of upkeep failed; it is tried again."""

    chore: str
    error: str
    error_message: str


class TickLeftOut(Event, frozen=True, kw_only=True):
    """A tick of a schedule made no job, by one of its policies; `why` says which."""

    schedule: str
    tick: str
    why: str


class SchemaNewer(Event, frozen=True, kw_only=True):
    """The schema was migrated by a newer pgjobq than this one: fine during a deployment, not for long."""

    current: int
    wanted: int
