"""What happens in a worker, as values: whoever wants to log, count or test it reads these.

Times are durations in seconds; `worker` is a worker's uuid as text; `ref` is the business thing a job belongs
to. How an event reads as a line or as JSON is decided in one place, `pgjobq.logs`.

event     the base of all
worker    the life of a worker and its processes
job       what happens to jobs
upkeep    the database, and upkeep
"""

from __future__ import annotations

from pgjobq.events.event import Event
from pgjobq.events.job import (
    JobDiscarded,
    JobEvent,
    JobFailed,
    JobParked,
    JobRetried,
    JobSnoozed,
    JobsReturned,
    JobStarted,
    JobSucceeded,
    JobWaits,
    LeaseLost,
    MoreSucceeded,
)
from pgjobq.events.upkeep import (
    ChoreFailed,
    ConnectionBack,
    ConnectionLost,
    HistoryPruned,
    JobsTakenBack,
    Polling,
    SchemaNewer,
    TickLeftOut,
    VacuumRefused,
)
from pgjobq.events.worker import (
    DrainEnded,
    EventsDropped,
    JobsOverdue,
    ListenerFailed,
    MetricsServed,
    ProcessDied,
    ProcessEnding,
    ProcessRetired,
    ProcessStarted,
    ShutdownBegan,
    ShutdownHurried,
    WorkerCrashed,
    WorkerStarted,
    WorkerStopped,
)

__all__ = [
    "ChoreFailed",
    "ConnectionBack",
    "ConnectionLost",
    "DrainEnded",
    "Event",
    "EventsDropped",
    "HistoryPruned",
    "JobDiscarded",
    "JobEvent",
    "JobFailed",
    "JobParked",
    "JobRetried",
    "JobSnoozed",
    "JobStarted",
    "JobSucceeded",
    "JobWaits",
    "JobsOverdue",
    "JobsReturned",
    "JobsTakenBack",
    "LeaseLost",
    "ListenerFailed",
    "MetricsServed",
    "MoreSucceeded",
    "Polling",
    "ProcessDied",
    "ProcessEnding",
    "ProcessRetired",
    "ProcessStarted",
    "SchemaNewer",
    "ShutdownBegan",
    "ShutdownHurried",
    "TickLeftOut",
    "VacuumRefused",
    "WorkerCrashed",
    "WorkerStarted",
    "WorkerStopped",
]
