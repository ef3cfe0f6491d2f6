"""One attempt: from a lease to a call of the handler, and from what the handler did to an outcome."""

from __future__ import annotations

import math
import random
import time
from typing import Any
from uuid import UUID

import msgspec

from pgjobq.current import ChunkJob, CurrentJob
from pgjobq.engine.lease import Lease
from pgjobq.errors import CannotDecrypt, KeyMissing, PgjobqError
from pgjobq.outcome import Discarded, Failed, Outcome, Parked, Snoozed, Succeeded, Suspension, decide, describe
from pgjobq.task import Registry, Task, key_of, version_of

__all__ = ["Attempt", "CompletionRolledBack", "prepare"]

SUCCEEDED = Succeeded()
EXPIRED = Discarded("expired before it started", started=False)
HARD_MARGIN = 5.0
"""Seconds after its time-out at which the supervisor begins to end an attempt that is still there by force."""
ISOLATED_MARGIN = 80.0
"""The same for isolated ones: their worker process ends them by itself, and they may have to wait for one to start."""


class CompletionRolledBack(PgjobqError):
    """The handler called complete(conn) and returned, but the transaction was rolled back: its effects are gone."""


class Attempt(msgspec.Struct, eq=False, gc=False):
    """A lease whose task is known and whose arguments fit it. (A Struct for the same reasons as Lease; nothing it holds
    leads back to it.)"""

    lease: Lease
    task: Task[Any, Any]
    arguments: dict[str, Any]
    job: CurrentJob
    place: int = -1
    """Its entry on the board, until it is settled."""
    started: float = 0.0
    ran: float = 0.0
    timed_out: bool = False
    interrupted: bool = False
    """Ended by a hurried shutdown: not the job's fault, so its attempt is spared."""
    halted: str | None = None
    """Why somebody wants it cancelled."""
    members: tuple[Attempt, ...] = ()
    """The attempts that are run by this one call, if it is a chunk (chunks.py)."""

    def begin(self) -> None:
        """The handler is called now."""
        self.started = time.perf_counter()

    @property
    def deadline(self) -> float:
        """When it is to be ended by force, on time.monotonic(); infinity when it may take any time."""
        if self.task.timeout is None:
            return math.inf
        return time.monotonic() + self.task.timeout + (HARD_MARGIN if self.task.isolation is None else ISOLATED_MARGIN)

    @property
    def worker(self) -> UUID:
        """The worker id under which it is held."""
        return self.job._worker

    def outcome(self, error: BaseException | None, result: Any, *, timed_out: bool) -> Outcome:
        """What becomes of the job, from what the handler did."""
        if (pause := self.job.suspension) is not None:
            self.job.suspension, self.job.completing = None, False  # its traceback leads back to the job
            if error is None or _is_only_left(error):  # a handler that swallowed it and returned waits all the same
                return pause.outcome
        if self.interrupted and error is not None:
            return Snoozed(0.0)
        if error is None and self.job.completing:
            # Settled as a failure: when the transaction did commit, the fence makes that change nothing.
            error = CompletionRolledBack("complete(conn) was called, but its transaction was rolled back")
        elif error is None and result is None:
            return SUCCEEDED
        outcome = decide(
            error,
            attempt=self.lease.attempt,
            spared=self.lease.spared,
            max_attempts=self.lease.max_attempts,
            retry=self.task.retry,
            random=random.random,
            result=result,
            task_timeout=self.task.timeout if timed_out or self.timed_out else None,
            veil=self.task.codec.veil(self.arguments),
        )
        if isinstance(outcome, Succeeded) and outcome.result is not None:
            name = self.lease.task  # under which it is read again, also when the task has another name by now
            return Succeeded(self.task.seal(outcome.result, self.lease.queue, part="result", name=name))
        return outcome


def _is_only_left(error: BaseException) -> bool:
    """Whether the handler was left to sleep or to wait, also out of a TaskGroup, and nothing else has gone wrong."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(Suspension)[1] is None
    return isinstance(error, Suspension)


def prepare(lease: Lease, registry: Registry, schema: str, worker: UUID) -> Attempt | Outcome:
    """Find the task and fit the arguments to it; an Outcome when the handler cannot even be called."""
    version = lease.version
    if version == 0:
        return EXPIRED
    task = registry.find(lease.task)
    if task is None:
        return Parked(f"task:{lease.task}")
    if version is not None and version > task.version:
        return Parked(f"task:{version_of(task.name, version)}")
    try:
        arguments = task.read(lease.args, lease.queue, name=lease.task, version=version or 1)
        if task.chunk is not None:
            job = ChunkJob(lease, schema, worker, args=task.takes(**arguments), _task=task)
            return Attempt(lease, task, arguments, job)
    except KeyMissing as missing:
        return Parked(f"task:{key_of(task.name, missing.key)}")
    except CannotDecrypt as error:
        return Failed(describe(error))  # it will not open the next time either
    except Exception as error:
        return decide(
            error,
            attempt=lease.attempt,
            spared=lease.spared,
            max_attempts=lease.max_attempts,
            retry=task.retry,
            random=random.random,
        )
    return Attempt(lease, task, arguments, CurrentJob(lease, schema, worker, _task=task))
