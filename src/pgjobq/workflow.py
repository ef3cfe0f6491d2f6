"""What a queue tells about a workflow, and the handles of its planned jobs: plain values that hold no connection."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pgjobq.errors import NotWrittenYet
from pgjobq.job import JobState

if TYPE_CHECKING:
    from pgjobq.task import Call

__all__ = ["PlannedJob", "Workflow", "WorkflowGraph", "WorkflowLink", "WorkflowNode", "WorkflowState"]


class WorkflowState(StrEnum):
    """How a workflow stands: found out from its jobs."""

    RUNNING = "running"
    """Some of its jobs have not ended, or it is open: more may come."""
    SUCCEEDED = "succeeded"
    """All have ended, and none badly."""
    FAILED = "failed"
    """All have ended, and some have failed."""
    CANCELLED = "cancelled"
    """All have ended; none failed, but some were cancelled."""

    @property
    def final(self) -> bool:
        """Whether nothing more happens to such a workflow by itself."""
        return self is not WorkflowState.RUNNING


@dataclass(frozen=True, slots=True)
class Workflow:
    """One workflow (or batch) as it stood when it was read. Jobs that wait for it as a whole are not counted.

    `started_at` is the first start of a job that is known of; `cancelled_at` when somebody cancelled it.
    """

    id: int
    name: str
    ref: str | None
    state: WorkflowState
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    cancelled_at: datetime | None
    open: bool
    """It does not end before `close_workflow`."""
    total: int
    scheduled: int
    blocked: int
    ready: int
    running: int
    succeeded: int
    failed: int
    cancelled: int
    bad: int | None = None
    """A job of it that failed or was cancelled, and therefore it is not a success: one of the first."""
    fail_fast: bool = False
    """The first of its jobs that ends badly cancels the others."""

    @property
    def done(self) -> int:
        """How many of its jobs have ended, however."""
        return self.succeeded + self.failed + self.cancelled

    @property
    def progress(self) -> float:
        """The share that has ended, 0 to 1."""
        return self.done / self.total if self.total else float(self.state.final)

    def __repr__(self) -> str:
        """One line."""
        return f"<Workflow #{self.id} {self.name} {self.state} {self.done}/{self.total}>"


@dataclass(frozen=True, slots=True)
class WorkflowNode:
    """A job of a workflow in its graph, or all its jobs of one task where there are too many."""

    id: int
    """The job's; of a group the first one's."""
    task: str
    states: dict[JobState, int]
    """How many are in which state; one, for a job by itself."""
    waits_for_whole: bool
    """It waits, through whatever is between, for the workflow as a whole."""

    @property
    def jobs(self) -> int:
        """How many jobs it stands for."""
        return sum(self.states.values())


@dataclass(frozen=True, slots=True)
class WorkflowLink:
    """Who waits for whom: ids of nodes, or as `before` the workflow's own."""

    before: int
    after: int
    needs: str


@dataclass(frozen=True, slots=True)
class WorkflowGraph:
    """The jobs of a workflow and what waits for what."""

    nodes: list[WorkflowNode]
    links: list[WorkflowLink]
    grouped: bool
    """Whether a node stands for all jobs of a task."""


class PlannedJob:
    """A job of a workflow that is being written down; its id is known once it is written."""

    __slots__ = ("_door", "_id", "after", "call", "depends_on", "needs")

    def __init__(
        self, call: Call, after: tuple[PlannedJob, ...], depends_on: tuple[int, ...], needs: str, door: Any
    ) -> None:
        self.call, self.after, self.depends_on, self.needs = call, after, depends_on, needs
        self._door, self._id = door, None

    def __repr__(self) -> str:
        return f"<PlannedJob {self.call.task.name} {'not written yet' if self._id is None else f'#{self._id}'}>"

    _id: int | None

    @property
    def id(self) -> int:
        """The job's id; 0 when its unique key skipped it. Raises NotWrittenYet inside the `with` block."""
        if self._id is None:
            raise NotWrittenYet(
                f"the job {self.call.task.name} has no id yet: the workflow is written when its `with` block ends; "
                "inside it give the job itself, as in after=job"
            )
        return self._id

    def written(self, job: int) -> None:
        """For whoever writes it: this is its id."""
        self._id = job

    @property
    def is_written(self) -> bool:
        """Whether it has an id."""
        return self._id is not None

    def wait(self, timeout: float | timedelta | None = None) -> Any:
        """Wait until the job has ended, and give its result: as `EnqueuedJob.wait`."""
        return self._door.result_of(self._door.wait(self.id, timeout))

    async def await_result(self, timeout: float | timedelta | None = None) -> Any:  # noqa: ASYNC109
        """The async twin of `wait`."""
        return self._door.result_of(await self._door.await_job(self.id, timeout))
