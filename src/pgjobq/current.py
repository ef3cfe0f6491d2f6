"""The running job, as its handler sees it."""

from __future__ import annotations

from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

import msgspec

from pgjobq import run
from pgjobq.errors import LeaseLost, NotInJob
from pgjobq.statements import jobs as statements

if TYPE_CHECKING:
    import logging
    from uuid import UUID

    from pgjobq.statements import Statement

__all__ = ["ChunkJob", "CurrentJob", "current_job", "entered", "note_job"]


A = TypeVar("A")


class Held(Protocol):
    """What the engine knows of the attempt (engine.lease.Lease)."""

    job: int
    task: str
    args: str
    queue: str
    attempt: int
    max_attempts: int
    priority: int
    ref: str | None
    tags: list[str] | None
    headers: str | None
    enqueued_at: float


class CurrentJob(msgspec.Struct, eq=False, gc=False):
    """The job that is being run, for its own handler; `current_job()` gives it.

    `attempt` grows with every start: send it along as a fencing token to systems outside, and let them refuse a smaller
    one than they have seen. (One exception: a start within the last second before a crash of the database server may be
    forgotten by it, and its number handed out again; together with the worker's id it is unique even then.)
    """

    _held: Held
    _schema: str
    _worker: UUID
    cancelled: bool = False
    """True once this attempt should end early (time-out, hurried shutdown, lost lease): for handlers that loop."""
    completing: bool = False
    """True once the handler has called complete(); whether that counts, its transaction decides."""

    @property
    def id(self) -> int:
        """The job's id."""
        return self._held.job

    @property
    def task(self) -> str:
        """The task's name."""
        return self._held.task

    @property
    def queue(self) -> str:
        """The queue it was taken from."""
        return self._held.queue

    @property
    def attempt(self) -> int:
        """The number of this start, from 1."""
        return self._held.attempt

    @property
    def max_attempts(self) -> int:
        """How many attempts the job has in all."""
        return self._held.max_attempts

    @property
    def ref(self) -> str | None:
        """The business thing it belongs to, such as `order:42`."""
        return self._held.ref

    @property
    def tags(self) -> tuple[str, ...]:
        """Its tags."""
        return tuple(self._held.tags or ())

    @property
    def headers(self) -> dict[str, Any]:
        """What the enqueuer sent along besides the arguments."""
        return msgspec.json.decode(self._held.headers) if self._held.headers else {}

    @property
    def schedule(self) -> str | None:
        """The schedule that made this job; None when none did."""
        made = self.headers.get("schedule")
        return made if isinstance(made, str) else None

    @property
    def scheduled_for(self) -> datetime | None:
        """The tick for which its schedule made it, in UTC; None for a job that no schedule made. A tick that was missed
        and is made up for keeps its own time here, so that a report covers the day it is meant for."""
        tick = self.headers.get("scheduled_for")
        try:
            return datetime.fromisoformat(tick) if isinstance(tick, str) else None
        except ValueError:  # somebody else's header
            return None

    @property
    def enqueued_at(self) -> datetime:
        """When it was enqueued, by the database's clock."""
        return datetime.fromtimestamp(self._held.enqueued_at, UTC)

    def complete(self, conn: object) -> None:
        """Complete this job inside the caller's own transaction: its effects and its completion commit together.

        Args:
            conn: a synchronous connection of any kind that `enqueue(conn=…)` takes, inside the transaction that holds
                the handler's effects. Commit it, and return: the worker then has nothing left to settle.

        Raises:
            LeaseLost: this attempt no longer holds the job (it was taken for dead and runs elsewhere): the transaction
                must be rolled back, which leaving it with this exception does.
        """
        self._check(run.execute(conn, self._statement()))

    async def acomplete(self, conn: object) -> None:
        """The same on an asynchronous connection."""
        self._check(await run.aexecute(conn, self._statement()))

    def _statement(self) -> Statement[bool]:
        self.completing = True
        return statements.complete_within(self._schema, self.id, self.attempt, str(self._worker), None)

    def _check(self, held: bool) -> None:
        if not held:
            self.cancelled, self.completing = True, False
            raise LeaseLost(
                f"job {self.id} ({self.task}), attempt {self.attempt}: this worker no longer holds it, so nothing it "
                "does may count; let this exception roll your transaction back"
            )

    def __repr__(self) -> str:
        ref = f" ref={self.ref!r}" if self.ref else ""
        return f"<CurrentJob #{self.id} {self.task} attempt {self.attempt}/{self.max_attempts}{ref}>"


class ChunkJob(CurrentJob, Generic[A], eq=False, gc=False, kw_only=True):
    """One of the jobs that a handler with `chunk=` is given: its arguments in `args`, and all that a CurrentJob has.

    What becomes of it is said by `succeed` or `fail`; or by the handler's result, a list with something for each job
    (an exception: it failed with that; anything else is its result); or by the handler's end: those that nothing was
    said of succeed when it returns, and fail when it raises.
    """

    IS_CHUNK_JOB: ClassVar[bool] = True

    args: A
    """Its arguments, as the class that the handler's annotation names."""
    _mark: tuple[Any, BaseException | None] | None = None

    def succeed(self, result: Any = None) -> None:
        """It is done, whatever becomes of the others; `result` is kept as its result."""
        self._mark = result, None

    def fail(self, error: BaseException) -> None:
        """It failed with this error, as if a handler of one job had raised it; that may be a Snooze or a Discard."""
        if not isinstance(error, BaseException):
            raise TypeError(f"fail({error!r}) wants an exception")
        self._mark = None, error

    @property
    def mark(self) -> tuple[Any, BaseException | None] | None:
        """What it was marked with: a result or an error; None: it was not."""
        return self._mark


_current: ContextVar[CurrentJob] = ContextVar("pgjobq_current_job")
entered = _current.set
"""For the engine: make this the current job of the running context."""


def current_job() -> CurrentJob:
    """The job whose handler is running in this context (task or thread).

    Raises NotInJob outside a handler, as when a test calls the plain function.
    """
    try:
        return _current.get()
    except LookupError:
        raise NotInJob(
            "current_job() was called outside a running handler: in a test, call the parts that do not need it, "
            "or run the job with a worker"
        ) from None


def note_job(record: logging.LogRecord) -> bool:
    """A filter for `logging`: notes on a record made inside a handler `job`, `task`, `queue`, `attempt` and `ref`.

    The worker's own log does so by itself. Handlers of yours: `handler.addFilter(note_job)`, and a format that names
    them. What a record has already stays as it is; nothing is ever left out.
    """
    job = _current.get(None)
    if job is not None and not hasattr(record, "event"):
        for name, value in (
            ("job", job.id), ("task", job.task), ("queue", job.queue), ("attempt", job.attempt), ("ref", job.ref)
        ):  # fmt: skip
            if not hasattr(record, name):
                setattr(record, name, value)
    return True
