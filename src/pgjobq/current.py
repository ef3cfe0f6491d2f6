"""The running job, as its handler sees it."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Generic, ParamSpec, TypeVar, overload

from pgjobq import run
from pgjobq.durations import to_seconds
from pgjobq.errors import AttemptEnding, LeaseLost, NotInJob, StepError, TaskError
from pgjobq.held import HeldJob
from pgjobq.outcome import Awaiting, Snoozed, Suspension, storable
from pgjobq.statements import jobs as statements
from pgjobq.statements.steps import Attempt, Report
from pgjobq.steps import RAISE, UNSAID, Hand, Ledger
from pgjobq.wording import quote

if TYPE_CHECKING:
    import logging

    from pgjobq.run.pools import Pools
    from pgjobq.statements import Statement

__all__ = ["ChunkJob", "CurrentJob", "current_job", "entered", "note_job"]


A = TypeVar("A")
P = ParamSpec("P")
R = TypeVar("R")

JOINED = 2
"""The hook of a job whose attempt has taken steps in a transaction of its handler's own; never stored."""
LONGEST_MESSAGE = 1_000
"""Characters of a message of progress that are kept."""


class CurrentJob(HeldJob, eq=False, gc=False):
    """The job that is being run, for its own handler; `current_job()` gives it.

    `attempt` grows with every start: send it along as a fencing token to systems outside, and let them refuse a smaller
    one than they have seen. (One exception: a start within the last second before a crash of the database server may be
    forgotten by it, and its number handed out again; together with the worker's id it is unique even then.)
    """

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

    # ------------------------------------------------------------------------------------------ steps

    def step(self, name: str, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Do something once and for all attempts: call `function` and remember what it returns, or give what an earlier
        attempt remembers, without calling it.

        What comes back has been through JSON, the first time too, and is of the type in the return annotation of the
        function. A function that raises is not remembered. Between its end and the memory stands one commit: a worker
        that dies there does the step again, unless both are one transaction: `using(conn=conn).step(…)`.

        Args:
            name: 1 to 255 characters, each name once in an attempt: `f"send:{item.id}"` in a loop.
            function: a plain function; what it returns must fit into 1 MiB of JSON.
            args, kwargs: its arguments.

        Raises:
            LeaseLost: this attempt no longer holds the job; nothing was remembered.
            UnstorableResult: what it returned cannot be kept, so the step is done again by the next attempt.
            StepError: the name is taken, or the annotation cannot be read from JSON.
        """
        return Hand(self).step(name, function, *args, **kwargs)

    @overload
    async def astep(
        self, name: str, function: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...

    @overload
    async def astep(self, name: str, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...

    async def astep(self, name: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """The async twin of `step`; `function` may be a coroutine function or a plain one."""
        return await Hand(self).astep(name, function, *args, **kwargs)

    def using(self, *, conn: object = None, returns: Any = UNSAID) -> Hand:
        """This job with options for `step` and `checkpoint` and their async twins, which it has as methods.

        Args:
            conn: a connection of any kind that `enqueue(conn=…)` takes, inside a transaction of yours: what a step has
                written there and its memory commit together or not at all, which makes its effects exactly once.
            returns: the type that the step gives back, where its function has no annotation that says so.
        """
        return Hand(self, conn, returns)

    def sleep(self, seconds: float | timedelta, name: str = "sleep") -> None:
        """Go on from here after so long, once for all attempts, without holding a worker.

        Unless the sleep is over, the handler is left with an exception that is no `Exception` (`finally` blocks run),
        the job is scheduled, and this attempt is not counted; the next one calls the handler again, with its steps
        remembered.

        Args:
            seconds: 0 to 100 years, or a timedelta; counted from the first time that an attempt came here.
            name: as for `step`.
        """
        Hand(self).sleep(name, _seconds("sleep", seconds))

    async def asleep(self, seconds: float | timedelta, name: str = "sleep") -> None:
        """The async twin of `sleep`."""
        await Hand(self).asleep(name, _seconds("asleep", seconds))

    def wait_for(
        self,
        event: str,
        timeout: float | timedelta | None = None,
        *,
        returns: Any = UNSAID,
        default: Any = RAISE,
        name: str | None = None,
    ) -> Any:
        """Wait for an event, without holding a worker, and give the payload it was emitted with.

        One that has been emitted before, and is still remembered, is given at once. Else the handler is left as by
        `sleep`, and the job is blocked until `queue.emit(event, …)` commits. What came is remembered like a step.

        Args:
            event: its name, such as `order:42:paid`; 1 to 255 characters.
            timeout: seconds (or a timedelta) to wait at the most, counted from the first time that an attempt came
                here; None: as long as it takes.
            returns: the type that the payload is read as; left out: plain JSON values.
            default: given when the event has not come in time; left out: EventTimeout is raised.
            name: of the step; None: the event's.

        Raises:
            EventTimeout: (a WaitTimeout) it has not come in time; remembered, too.
        """
        seconds = None if timeout is None else _seconds("wait_for", timeout)
        return Hand(self, None, returns).wait_for(event if name is None else name, event, seconds, default)

    async def await_for(
        self,
        event: str,
        timeout: float | timedelta | None = None,  # noqa: ASYNC109
        *,
        returns: Any = UNSAID,
        default: Any = RAISE,
        name: str | None = None,
    ) -> Any:
        """The async twin of `wait_for`."""
        seconds = None if timeout is None else _seconds("await_for", timeout)
        return await Hand(self, None, returns).await_for(event if name is None else name, event, seconds, default)

    def checkpoint(self, value: Any) -> None:
        """Keep a value (up to 1 MiB of JSON) from which the next attempt goes on, in place of the last one.

        Raises LeaseLost, or UnstorableResult. `using(conn=conn).checkpoint(…)` keeps it in your own transaction.
        """
        Hand(self).checkpoint(value)

    async def acheckpoint(self, value: Any) -> None:
        """The async twin of `checkpoint`."""
        await Hand(self).acheckpoint(value)

    def last_checkpoint(self, default: Any = None) -> Any:
        """The value that earlier attempts kept last, as plain JSON values, or as `using(returns=…)` says; `default` if
        there is none."""
        return Hand(self).last_checkpoint(default)

    async def alast_checkpoint(self, default: Any = None) -> Any:
        """The async twin of `last_checkpoint`."""
        return await Hand(self).alast_checkpoint(default)

    # ------------------------------------------------------------------------------------------ signs of life

    def progress(self, done: float, total: float | None = None, message: str | None = None) -> None:
        """Say how far this job has come: `queue.get(id).progress`, the dashboard and whoever watches show it.

        Costs some microseconds and no round trip (so it has no async twin): reports are written in the background, four
        times a second at the most, and of those in between the last one counts.

        Args:
            done: any number.
            total: what it comes to in the end; None: nobody knows.
            message: what is being done; up to 1,000 characters are kept.

        Raises:
            AttemptEnding: as `heartbeat`.
        """
        self.heartbeat()
        if not (_is_number(done) and (total is None or _is_number(total))):
            raise StepError(f"progress(done={quote(done)}, total={quote(total)}): wants finite numbers")
        text = None if message is None else storable(message, LONGEST_MESSAGE)
        report = Report(self.id, self.attempt, self._worker, float(done), None if total is None else float(total), text)
        self._task._door.reporter.report(self, report)

    def heartbeat(self) -> None:
        """Raise if this attempt is to end, and do nothing else: for long loops of plain functions.

        The worker renews the lease by itself, whatever a handler does; so there is no need to call this to keep the
        job.

        Raises:
            AttemptEnding: the job was cancelled, its time is over, or its worker goes; LeaseLost: it is somebody
                else's.
        """
        if self.is_lost:
            raise self.ledger.lost()
        if self.cancelled:
            raise AttemptEnding(f"job {self.id} ({self.task}), attempt {self.attempt}: it is to end now")

    # ------------------------------------------------------------------------------------------ for the library

    @property
    def ledger(self) -> Ledger:
        """For the library: what this attempt knows of the job's steps."""
        if self._ledger is None:
            who = Attempt(self.id, self.attempt, self._worker)
            ring = self._task._door.encryption
            self._ledger = Ledger(self._schema, who, self._task, self.task, self.queue, ring)
        return self._ledger

    @property
    def stores(self) -> Pools:
        """For the library: connections to the database that the worker works on."""
        pools: Pools = self._task._door.stores
        return pools

    def join(self) -> None:
        """For the library: a transaction of the handler's own holds the lease until it ends. Who settles the job must
        not wait for that: with a hook it goes by the road that passes by what is locked, and comes again."""
        self._held.hooks = (self._held.hooks or 0) | JOINED

    def check_suspension(self) -> None:
        """For the library: raises TaskError if the handler cannot be left until later."""

    def suspend(self, outcome: Snoozed | Awaiting) -> Suspension:
        """For the library: what to raise to leave the handler until later."""
        self.suspension = Suspension(outcome)
        self.completing = (
            True  # a handler that swallows it and returns has not succeeded: Attempt.outcome() sees to that
        )
        return self.suspension

    def _statement(self) -> Statement[bool]:
        self.completing = True
        return statements.complete_within(self._schema, self.id, self.attempt, str(self._worker), None)

    def _check(self, held: bool) -> None:
        if not held:
            self.completing = False
            raise self.lose(
                LeaseLost(
                    f"job {self.id} ({self.task}), attempt {self.attempt}: this worker no longer holds it, so "
                    "nothing it does may count; let this exception roll your transaction back"
                )
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

    def check_suspension(self) -> None:
        """Raises TaskError: it runs together with others."""
        raise TaskError(
            f"job {self.id} ({self.task}) runs in one call with others, so it can neither sleep nor wait for an event: "
            "fail(Snooze(…)) puts it off"
        )

    @property
    def mark(self) -> tuple[Any, BaseException | None] | None:
        """What it was marked with: a result or an error; None: it was not."""
        return self._mark


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _seconds(what: str, span: object) -> float:
    seconds = to_seconds(span)
    if seconds is None:
        raise StepError(f"{what}({quote(span)}): wants seconds or a timedelta, from 0 to 100 years")
    return seconds


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
