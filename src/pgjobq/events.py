"""What happens in a worker, as values: whoever wants to log, count or test it reads these.

Times are durations in seconds; `worker` is a worker's uuid as text; `ref` is the business thing a job belongs
to. How an event reads as a line or as JSON is decided in one place, `pgjobq.logs`.
"""

from __future__ import annotations

import re

import msgspec

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


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all events."""

    @classmethod
    def name(cls) -> str:
        """The event's name in JSON logs: `job_succeeded` for JobSucceeded."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()


# --- the worker's life -----------------------------------------------------------------------------------


class WorkerStarted(Event, frozen=True, kw_only=True):
    """A worker is ready to take jobs; what the start-up banner tells. `queues` empty: all of them.

    `database` names host and database without password; `mode` is `listening` or `polling`; `worker` is
    empty for a supervisor, whose processes have an identity each.
    """

    worker: str = ""
    pid: int
    version: str
    app: str
    queues: tuple[str, ...]
    tasks: tuple[str, ...]
    concurrency: int
    processes: int
    database: str
    server_version: str
    schema: str
    lease: float
    heartbeat: float
    poll_interval: float
    grace: float
    mode: str = "listening"
    drain: bool = False


class WorkerStopped(Event, frozen=True, kw_only=True):
    """A worker has ended cleanly. `returned`: jobs given back unstarted; `deaths`: processes that died meanwhile."""

    worker: str
    seconds: float
    succeeded: int
    retried: int
    failed: int
    returned: int
    exit_code: int
    deaths: int = 0


class WorkerCrashed(Event, frozen=True, kw_only=True):
    """A worker ends because of an error of its own."""

    error: str
    error_message: str
    traceback: str = ""


class ProcessStarted(Event, frozen=True, kw_only=True):
    """The supervisor has started a worker process; `number` counts from 1."""

    number: int
    pid: int
    restart: bool = False


class ProcessDied(Event, frozen=True, kw_only=True):
    """A worker process is gone that should not be; `jobs` are the ones it was running.

    Either `signal` (`SIGKILL`) or `exit_code` says how; `reason` why, when its supervisor ended it.
    """

    number: int
    pid: int
    exit_code: int | None = None
    signal: str | None = None
    jobs: tuple[int, ...] = ()
    reason: str | None = None


class ProcessRetired(Event, frozen=True, kw_only=True):
    """A worker process takes no more jobs, for this `reason`: another has its place, and it ends with those it has."""

    number: int
    pid: int
    reason: str


class ProcessEnding(Event, frozen=True, kw_only=True):
    """For listeners, the last thing they hear: this worker process has settled all it had, and ends within seconds.
    What gathers things to send them together sends the rest now."""

    pid: int


class JobsOverdue(Event, frozen=True, kw_only=True):
    """Handlers did not end after their time-out: their process was sent SIGTERM, and gets SIGKILL in `kill_in`."""

    number: int
    pid: int
    jobs: tuple[int, ...]
    kill_in: float


class ShutdownBegan(Event, frozen=True, kw_only=True):
    """No more jobs are taken; `running` ones may finish within `grace` seconds. `reason`: `SIGTERM`, …"""

    reason: str
    running: int
    grace: float


class ShutdownHurried(Event, frozen=True, kw_only=True):
    """The running jobs are cancelled now: second signal, or the grace is over."""

    reason: str
    running: int


class DrainEnded(Event, frozen=True, kw_only=True):
    """`--drain` is over. `reason`: why it ended (`nothing left`, `max_jobs`, `max_seconds`); `deaths`: of processes."""

    reason: str
    seconds: float
    succeeded: int
    retried: int
    failed: int
    deaths: int = 0


class MetricsServed(Event, frozen=True, kw_only=True):
    """The worker answers at `url` with its metrics."""

    url: str


class ListenerFailed(Event, frozen=True, kw_only=True):
    """A listener (`queue.on`) raised when it was told of an event, whose name is `about`."""

    listener: str
    about: str
    error: str
    error_message: str
    traceback: str = ""


class EventsDropped(Event, frozen=True, kw_only=True):
    """Listeners are too slow: so many events were not told to them."""

    events: int


# --- jobs ------------------------------------------------------------------------------------------------


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


# --- the database, and upkeep ----------------------------------------------------------------------------


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
