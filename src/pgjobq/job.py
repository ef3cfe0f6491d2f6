"""What a queue tells about its jobs: plain values, read from the database, that hold no connection. What it tells
about the whole is in overview.py."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal

__all__ = ["AttemptError", "EnqueuedJob", "Explanation", "Job", "JobState", "Progress", "Step"]


class JobState(StrEnum):
    """Where a job stands; each state is a table of its own in the database."""

    SCHEDULED = "scheduled"
    """Waits for a time: a delay, or the next try after a failed attempt."""
    BLOCKED = "blocked"
    """Waits for something other than time; `Job.reason` says for what."""
    READY = "ready"
    """May be started by any worker, at once."""
    RUNNING = "running"
    """A worker holds its lease."""
    SUCCEEDED = "succeeded"
    """Final: the handler returned."""
    FAILED = "failed"
    """Final: given up, after the last attempt or by a rule. `queue.retry(id)` starts it anew."""
    CANCELLED = "cancelled"
    """Final: cancelled while it waited, or discarded by its own handler."""

    @property
    def final(self) -> bool:
        """Whether nothing more happens to such a job by itself."""
        return self in _FINAL


_FINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})


@dataclass(frozen=True, slots=True)
class EnqueuedJob:
    """The receipt of an enqueue. The job is real once the transaction it was enqueued in commits.

    `is_new` is False when a unique job was there already: `id` and `queue` are that job's then; `id` is 0 when the call
    was skipped.
    """

    id: int
    task: str
    queue: str
    is_new: bool = True
    _door: Any = field(default=None, repr=False, compare=False)

    def watch_progress(self, timeout: float | timedelta | None = None) -> Iterator[Progress]:
        """How far it comes, each time it says so, until it ends: see `Queue.watch_progress`."""
        progress: Iterator[Progress] = self._door.watch_progress(self.id, timeout)
        return progress

    def awatch_progress(self, timeout: float | timedelta | None = None) -> AsyncIterator[Progress]:
        """The async twin of `watch_progress`, for `async for`."""
        progress: AsyncIterator[Progress] = self._door.awatch_progress(self.id, timeout)
        return progress

    def wait(self, timeout: float | timedelta | None = None) -> Any:
        """Wait until the job has ended, and give what its handler returned, as plain JSON values.

        Args:
            timeout: seconds (or a timedelta) to wait at the most; None: as long as it takes.

        Raises:
            JobNotSucceeded: it failed or was cancelled.
            WaitTimeout: (a TimeoutError) the time is over; the job goes on.
            NoSuchJob: the transaction it was enqueued in has not been committed, or was rolled back.
        """
        return self._door.result_of(self._door.wait(self.id, timeout))

    async def await_result(self, timeout: float | timedelta | None = None) -> Any:  # noqa: ASYNC109
        """The async twin of `wait`."""
        return self._door.result_of(await self._door.await_job(self.id, timeout))


@dataclass(frozen=True, slots=True, repr=False)
class Job:
    """One job as it stood when it was read. All times carry a time zone.

    `args` are the stored arguments as plain JSON values (a datetime is still its text); the handler alone
    gets them typed. `attempt` is the number of the latest start, 0 before the first; with Snoozes among them
    it may exceed `max_attempts`, because a Snooze spends nothing of that budget.
    """

    id: int
    task: str
    queue: str
    state: JobState
    args: dict[str, Any]
    ref: str | None
    tags: tuple[str, ...]
    headers: dict[str, str]
    priority: int
    attempt: int
    max_attempts: int
    created_at: datetime
    run_at: datetime | None
    """When it is next due, or goes on if no event comes first; None when it waits for no time."""
    started_at: datetime | None
    finished_at: datetime | None
    worker: str | None
    reason: str | None
    """The latest error's text, or why the job is blocked or cancelled; None when there is nothing to say."""
    result: Any
    """What the handler returned, as plain JSON values; None until it succeeded."""
    version: int = 1
    """Of its arguments, as its task counts them."""
    expires_at: datetime | None = None
    """No attempt of it starts from then on."""
    progress: Progress | None = None
    """How far it has come, if it ever said so."""
    workflow: int | None = None
    """The id of the workflow that it belongs to."""

    def __repr__(self) -> str:
        """One line: what a person needs to recognise the job, never its arguments (they may be private)."""
        parts = [f"#{self.id}", self.task, str(self.state), f"attempt {self.attempt}/{self.max_attempts}"]
        if self.queue != "default":
            parts.append(f"queue={self.queue}")
        if self.ref is not None:
            parts.append(f"ref={_brief(self.ref)}")
        if self.run_at is not None and not self.state.final:
            parts.append(f"due={self.run_at.isoformat(timespec='seconds')}")
        if self.reason:
            parts.append(f"reason={_brief(self.reason)}")
        return f"<Job {' '.join(parts)}>"


def _brief(text: str, limit: int = 60) -> str:
    """The text's first line, quoted and cut, so that a repr stays one line."""
    line = text.strip().partition("\n")[0]
    return repr(line if len(line) <= limit else line[: limit - 1] + "…")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job has come, as its latest report says."""

    done: float
    total: float | None
    """What `done` comes to in the end; None: nobody knows."""
    message: str | None
    at: datetime
    attempt: int
    """That said so."""

    @property
    def share(self) -> float | None:
        """How much of it is done, from 0 to 1; None when there is no total."""
        return None if not self.total else min(1.0, max(0.0, self.done / self.total))

    def __str__(self) -> str:
        whole = "" if self.total is None else f" of {self.total:,.10g}"
        return f"{self.done:,.10g}{whole}{f': {self.message}' if self.message else ''}"


@dataclass(frozen=True, slots=True)
class Step:
    """Something that attempts of a job have done for good, or wait for in the midst of their work."""

    name: str
    kind: Literal["step", "sleep", "wait"]
    attempt: int
    """That did it, or was the last one to meet it."""
    started_at: datetime
    ended_at: datetime | None
    """None: a sleep or a wait that is not over."""
    until: datetime | None = None
    """When a sleep is over, or a wait in vain."""
    event: str | None = None
    """What a wait waits for."""
    timed_out: bool = False
    """The event had not come in time."""
    value: Any = None
    """What it gave, as plain JSON values."""

    @property
    def seconds(self) -> float | None:
        """How long it took; None while it is not over."""
        return None if self.ended_at is None else (self.ended_at - self.started_at).total_seconds()


@dataclass(frozen=True, slots=True)
class AttemptError:
    """One failed attempt of a job."""

    job: int
    attempt: int
    started_at: datetime
    failed_at: datetime
    worker: str | None
    kind: str
    """The exception's class, with its module unless it is a built-in one."""
    message: str
    traceback: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a job is where it is."""

    job: int
    state: JobState
    sentences: tuple[str, ...]
    """For a person, the most important one first."""

    def __str__(self) -> str:
        return "\n".join(self.sentences)
