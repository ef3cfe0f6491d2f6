"""The database, as a worker sees it, and upkeep."""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLost(Event):
    """A connection broke; `purpose` is what it was for (`claims`, `listener`, `heartbeat`)."""

    purpose: str
    error: str
    error_message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionBack(Event):
    """The connection is there again after `seconds`."""

    purpose: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Polling(Event):
    """There are no notifications, so that jobs are looked for every `poll_interval`; `reason` says why."""

    reason: str
    poll_interval: float


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsTakenBack(Event):
    """A dead worker's jobs were taken back: `jobs` run again, `failed` had no attempt left. `reason`: how it died."""

    worker: str
    reason: str
    jobs: int
    failed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPruned(Event):
    """Retention deleted old jobs."""

    jobs: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class VacuumRefused(Event):
    """Upkeep may not vacuum a churning table: claims will slow down under load."""

    table: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoreFailed(Event):
    """A chore of upkeep failed; it is tried again."""

    chore: str
    error: str
    error_message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TickLeftOut(Event):
    """A tick of a schedule made no job, by one of its policies; `why` says which."""

    schedule: str
    tick: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaNewer(Event):
    """The schema was migrated by a newer pgjobq than this one: fine during a deployment, not for long."""

    current: int
    wanted: int
