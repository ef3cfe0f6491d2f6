"""The worker's life: its start and its end, its processes, what it serves."""

from __future__ import annotations

from dataclasses import dataclass

from pgjobq.events.event import Event

__all__ = [
    "DrainEnded",
    "EventsDropped",
    "JobsOverdue",
    "ListenerFailed",
    "MetricsServed",
    "ProcessDied",
    "ProcessEnding",
    "ProcessRetired",
    "ProcessStarted",
    "ShutdownBegan",
    "ShutdownHurried",
    "WorkerCrashed",
    "WorkerStarted",
    "WorkerStopped",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStarted(Event):
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


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStopped(Event):
    """A worker has ended cleanly. `returned`: jobs given back unstarted; `deaths`: processes that died meanwhile."""

    worker: str
    seconds: float
    succeeded: int
    retried: int
    failed: int
    returned: int
    exit_code: int
    deaths: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerCrashed(Event):
    """A worker ends because of an error of its own."""

    error: str
    error_message: str
    traceback: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStarted(Event):
    """The supervisor has started a worker process; `number` counts from 1."""

    number: int
    pid: int
    restart: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessDied(Event):
    """A worker process is gone that should not be; `jobs` are the ones it was running.

    Either `signal` (`SIGKILL`) or `exit_code` says how; `reason` why, when its supervisor ended it.
    """

    number: int
    pid: int
    exit_code: int | None = None
    signal: str | None = None
    jobs: tuple[int, ...] = ()
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRetired(Event):
    """A worker process takes no more jobs, for this `reason`: another has its place, and it ends with those it has."""

    number: int
    pid: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessEnding(Event):
    """For listeners, the last thing they hear: this worker process has settled all it had, and ends within seconds.
    What gathers things to send them together sends the rest now."""

    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsOverdue(Event):
    """Handlers did not end after their time-out: their process was sent SIGTERM, and gets SIGKILL in `kill_in`."""

    number: int
    pid: int
    jobs: tuple[int, ...]
    kill_in: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ShutdownBegan(Event):
    """No more jobs are taken; `running` ones may finish within `grace` seconds. `reason`: `SIGTERM`, …"""

    reason: str
    running: int
    grace: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ShutdownHurried(Event):
    """The running jobs are cancelled now: second signal, or the grace is over."""

    reason: str
    running: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainEnded(Event):
    """`--drain` is over. `reason`: why it ended (`nothing left`, `max_jobs`, `max_seconds`); `deaths`: of processes."""

    reason: str
    seconds: float
    succeeded: int
    retried: int
    failed: int
    deaths: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsServed(Event):
    """The worker answers at `url` with its metrics."""

    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerFailed(Event):
    """A listener (`queue.on`) raised when it was told of an event, whose name is `about`."""

    listener: str
    about: str
    error: str
    error_message: str
    traceback: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsDropped(Event):
    """Listeners are too slow: so many events were not told to them."""

    events: int
