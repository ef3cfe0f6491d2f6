"""Every error pgjobq raises, as one tree; each sentence says what was wrong, with which value, and what to do.

PgjobqError
├── ConfigError               a setting, flag or environment variable cannot be used
│   ├── MissingDsn            no database named anywhere
│   └── AppNotFound           `module:queue` does not lead to a Queue
├── SchemaError               the database's tables do not fit this version
│   ├── SchemaMissing         never migrated
│   └── SchemaOutdated        migrated by an older (or newer) pgjobq
├── TaskError                 a task is declared in a way that cannot work
│   ├── DuplicateTask         two functions under one name
│   └── UnsupportedAnnotation an argument's type cannot travel as JSON
├── ScheduleError             a schedule cannot work as it is written: its expression, zone, policy or task
│   └── UnknownSchedule       no schedule of that name
├── EnqueueError              this job cannot be enqueued as asked; nothing was written
│   ├── UnknownTask           no task of that name is registered
│   ├── UnknownArgument       the task has no such argument
│   ├── MissingArgument       an argument without default was left out
│   ├── WrongArgumentType     a value does not fit its annotation
│   ├── NotSerializable       a value cannot travel as JSON
│   ├── NulCharacter          a text contains U+0000, which PostgreSQL cannot store
│   ├── PayloadTooLarge       the arguments exceed the size limit
│   ├── NaiveDatetime         a datetime without a time zone
│   ├── JobExists             another job holds the unique key
│   ├── QueueFull             as many jobs wait in the queue as its limit allows
│   ├── WorkflowEnded         nothing can be added to a workflow that has ended, was cancelled or does not exist
│   ├── InvalidOption         delay, run_at, priority, ref, tags, queue, … out of range
│   └── UnsupportedConnection `conn=` is none of the kinds that are taken
├── UnstorableResult          what a handler or a step returned cannot be kept as JSON: its attempt has failed
├── StepError                 a step, a sleep or a wait cannot work as it is asked for
├── IsolatedProcessDied       an isolated handler's process ended under it: its attempt has failed
├── UpcastFailed              arguments of an older version could not be made into today's: its attempt has failed
├── CannotDecrypt             a payload does not open: it was changed, moved, or its key is not here
│   └── KeyMissing            this process does not have the key; its job waits for one that does
├── MiddlewareError           middleware, carried context or a listener cannot work, or has failed
├── NotWrittenYet             a step or a workflow is asked for its id inside its `with` block
├── NoSuchJob                 no job of this id is in the database
├── WaitTimeout               a job that was waited for has not ended in time
│   └── EventTimeout          an event that a job waited for has not come in time
├── JobNotSucceeded           there is no result: the job failed or was cancelled
├── AttemptEnding             this attempt is to end: it was cancelled, its time is over, or its worker goes
│   └── LeaseLost             this attempt no longer holds its job: nothing it reports counts
└── NotInJob                  current_job() outside a running handler
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pgjobq.job import Job

__all__ = [
    "AppNotFound",
    "AttemptEnding",
    "CannotDecrypt",
    "ConfigError",
    "DuplicateTask",
    "EnqueueError",
    "EventTimeout",
    "InvalidOption",
    "IsolatedProcessDied",
    "JobExists",
    "KeyMissing",
    "LeaseLost",
    "MiddlewareError",
    "MissingArgument",
    "MissingDsn",
    "NaiveDatetime",
    "NotInJob",
    "NotSerializable",
    "NotWrittenYet",
    "NulCharacter",
    "PayloadTooLarge",
    "PgjobqError",
    "QueueFull",
    "ScheduleError",
    "SchemaError",
    "SchemaMissing",
    "SchemaOutdated",
    "StepError",
    "TaskError",
    "UnknownArgument",
    "UnknownTask",
    "UnstorableResult",
    "UnsupportedAnnotation",
    "UnsupportedConnection",
    "UpcastFailed",
    "WorkflowEnded",
    "WrongArgumentType",
]


class PgjobqError(Exception):
    """Base of every error of this library."""


class ConfigError(PgjobqError):
    """A setting, flag or environment variable cannot be used."""


class MissingDsn(ConfigError):
    """No database is named by argument, `PGJOBQ_DSN`, `DATABASE_URL` or `PG*`."""


class AppNotFound(ConfigError):
    """`module:queue` does not lead to a Queue."""


class SchemaError(PgjobqError):
    """The database's tables do not fit this version of pgjobq."""


class SchemaMissing(SchemaError):
    """The schema is not there; `pgjobq migrate` creates it."""


class SchemaOutdated(SchemaError):
    """The schema was migrated by another version of pgjobq."""


class TaskError(PgjobqError):
    """A task is declared in a way that cannot work."""


class DuplicateTask(TaskError):
    """Two functions are registered under one task name."""


class UnsupportedAnnotation(TaskError):
    """An argument's annotation names a type that cannot travel as JSON."""


class ScheduleError(PgjobqError):
    """A schedule cannot work as it is written: its expression, time zone, policy or task."""


class UnknownSchedule(ScheduleError):
    """There is no schedule of that name."""


class EnqueueError(PgjobqError):
    """This job cannot be enqueued as asked; nothing was written."""


class UnknownTask(EnqueueError):
    """No task of that name is registered."""


class UnknownArgument(EnqueueError):
    """The task has no such argument."""


class MissingArgument(EnqueueError):
    """An argument without a default was left out."""


class WrongArgumentType(EnqueueError):
    """A value does not fit the annotation of its argument."""


class NotSerializable(EnqueueError):
    """A value cannot travel as JSON."""


class NulCharacter(EnqueueError):
    """A text contains U+0000, which PostgreSQL cannot store."""


class PayloadTooLarge(EnqueueError):
    """The encoded arguments exceed the size limit."""


class NaiveDatetime(EnqueueError):
    """A datetime without a time zone: which instant is meant is anybody's guess."""


class JobExists(EnqueueError):
    """Another job holds the unique key, and `on_conflict="raise"` asked to be told so."""


class QueueFull(EnqueueError):
    """A queue has a limit of jobs that may wait in it, and they do. The server says so: the transaction in which it was
    tried can only be rolled back (or to a savepoint before it)."""

    def __init__(self, message: str, *, queue: str, limit: int, waiting: int) -> None:
        super().__init__(message)
        self.queue, self.limit, self.waiting = queue, limit, waiting


class WorkflowEnded(EnqueueError):
    """Nothing can be added to a workflow that has ended, was cancelled or does not exist. The server says so: the
    transaction in which it was tried can only be rolled back."""


class InvalidOption(EnqueueError):
    """An option such as delay, run_at, priority, ref, tags or queue is out of its range."""


class UnsupportedConnection(EnqueueError):
    """`conn=` is none of the kinds that are taken."""


class MiddlewareError(PgjobqError):
    """Middleware, carried context or a listener is declared in a way that cannot work; or middleware failed, and
    with it the enqueue or the attempt around which it stands. `__cause__` is what it raised."""


class NotWrittenYet(PgjobqError):
    """A step or a workflow was asked for its id inside its `with` block: it is written when the block ends."""


class NoSuchJob(PgjobqError):
    """A job of this id is not (or no longer, or not yet) in the database."""


class NoSuchWorkflow(PgjobqError):
    """There is no workflow with this id, or the transaction that wrote it has not been committed."""


class WaitTimeout(PgjobqError, TimeoutError):
    """The job that was waited for has not ended in time; it goes on."""


class EventTimeout(WaitTimeout):
    """The event that a job waited for has not come in time. Remembered: the next attempt is told the same."""


class JobNotSucceeded(PgjobqError):
    """There is no result, because the job failed or was cancelled; `job` says how it stands."""

    def __init__(self, message: str, job: Job) -> None:
        super().__init__(message)
        self.job = job


class UnstorableResult(PgjobqError):
    """What a handler or a step returned cannot be kept as JSON; for `Retry(give_up_on=…)`, since trying again seldom
    helps."""


class StepError(PgjobqError):
    """A step, a sleep or a wait cannot work as it is asked for: its name is taken, or it was something else before."""


class IsolatedProcessDied(PgjobqError):
    """The process of a handler with `isolation="process"` ended under it, by a signal or with an exit code."""


class UpcastFailed(PgjobqError):
    """An up-caster raised, or returned no arguments: the attempt fails, and the next one tries again."""


class CannotDecrypt(PgjobqError):
    """An encrypted payload does not open: it was changed, or moved to another task or queue."""


class KeyMissing(CannotDecrypt):
    """This process does not have the key of an encrypted payload; `key` is its name, as stored."""

    def __init__(self, message: str, key: str) -> None:
        super().__init__(message)
        self.key = key


class AttemptEnding(PgjobqError):
    """This attempt is to end: its job was cancelled, its time is over, or its worker goes. Raised by `heartbeat()`."""


class LeaseLost(AttemptEnding):
    """This attempt no longer holds its job: nothing it reports counts any more."""


class NotInJob(PgjobqError):
    """`current_job()` was called outside a running handler."""
