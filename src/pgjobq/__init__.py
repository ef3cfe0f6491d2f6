"""pgjobq: a job queue in PostgreSQL that enqueues in your own transaction.

from pgjobq import Queue

queue = Queue()

@queue.task
def send_confirmation(order_id: int) -> None: ...

send_confirmation.using(conn=conn, ref="order:42").enqueue(order_id=42)
"""

from __future__ import annotations

from pgjobq.codec import Secret
from pgjobq.current import ChunkJob, CurrentJob, current_job, note_job
from pgjobq.encryption import Keyring
from pgjobq.errors import (
    AppNotFound,
    AttemptEnding,
    CannotDecrypt,
    ConfigError,
    DuplicateTask,
    EnqueueError,
    EventTimeout,
    InvalidOption,
    IsolatedProcessDied,
    JobExists,
    JobNotSucceeded,
    KeyMissing,
    LeaseLost,
    MiddlewareError,
    MissingArgument,
    MissingDsn,
    NaiveDatetime,
    NoSuchJob,
    NoSuchWorkflow,
    NotInJob,
    NotSerializable,
    NotWrittenYet,
    NulCharacter,
    PayloadTooLarge,
    PgjobqError,
    QueueFull,
    ScheduleError,
    SchemaError,
    SchemaMissing,
    SchemaOutdated,
    StepError,
    TaskError,
    UnknownArgument,
    UnknownSchedule,
    UnknownTask,
    UnstorableResult,
    UnsupportedAnnotation,
    UnsupportedConnection,
    UpcastFailed,
    WaitTimeout,
    WorkflowEnded,
    WrongArgumentType,
)
from pgjobq.job import AttemptError, EnqueuedJob, Explanation, Job, JobState, Progress, Step
from pgjobq.middleware import Outgoing
from pgjobq.outcome import Discard, Snooze
from pgjobq.overview import AuditEntry, GateFigures, Pause, QueueAgeing, QueueLimit, QueueStats, Stats, WorkerInfo
from pgjobq.queue import Queue
from pgjobq.retry import Retry
from pgjobq.schedule import Schedule
from pgjobq.task import Call, Chunk, Gate, Quota, Rate, Task, Unique
from pgjobq.workflow import PlannedJob, Workflow, WorkflowState

__all__ = [
    "AppNotFound",
    "AttemptEnding",
    "AttemptError",
    "AuditEntry",
    "Call",
    "CannotDecrypt",
    "Chunk",
    "ChunkJob",
    "ConfigError",
    "CurrentJob",
    "Discard",
    "DuplicateTask",
    "EnqueueError",
    "EnqueuedJob",
    "EventTimeout",
    "Explanation",
    "Gate",
    "GateFigures",
    "InvalidOption",
    "IsolatedProcessDied",
    "Job",
    "JobExists",
    "JobNotSucceeded",
    "JobState",
    "KeyMissing",
    "Keyring",
    "LeaseLost",
    "MiddlewareError",
    "MissingArgument",
    "MissingDsn",
    "NaiveDatetime",
    "NoSuchJob",
    "NoSuchWorkflow",
    "NotInJob",
    "NotSerializable",
    "NotWrittenYet",
    "NulCharacter",
    "Outgoing",
    "Pause",
    "PayloadTooLarge",
    "PgjobqError",
    "PlannedJob",
    "Progress",
    "Queue",
    "QueueAgeing",
    "QueueFull",
    "QueueLimit",
    "QueueStats",
    "Quota",
    "Rate",
    "Retry",
    "Schedule",
    "ScheduleError",
    "SchemaError",
    "SchemaMissing",
    "SchemaOutdated",
    "Secret",
    "Snooze",
    "Stats",
    "Step",
    "StepError",
    "Task",
    "TaskError",
    "Unique",
    "UnknownArgument",
    "UnknownSchedule",
    "UnknownTask",
    "UnstorableResult",
    "UnsupportedAnnotation",
    "UnsupportedConnection",
    "UpcastFailed",
    "WaitTimeout",
    "WorkerInfo",
    "Workflow",
    "WorkflowEnded",
    "WorkflowState",
    "WrongArgumentType",
    "__version__",
    "current_job",
    "note_job",
]


def __getattr__(name: str) -> str:
    if name == "__version__":  # read from the installed distribution, and only when asked
        from pgjobq.migrate import library_version

        return library_version()
    raise AttributeError(f"module 'pgjobq' has no attribute {name!r}")
