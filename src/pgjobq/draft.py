"""A workflow while it is written down: kept in memory, and written as one when its `with` block ends."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Iterator
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, Protocol, Self, get_args

from pgjobq.errors import EnqueueError, InvalidOption, NotWrittenYet
from pgjobq.job import EnqueuedJob, Job
from pgjobq.task import Call
from pgjobq.task.options import MOST_PREDECESSORS, Needs
from pgjobq.wording import did_you_mean, quote
from pgjobq.workflow import PlannedJob, Workflow

__all__ = ["After", "Draft"]

After = (
    PlannedJob | int | EnqueuedJob | Job | Workflow | Iterable[PlannedJob | int | EnqueuedJob | Job | Workflow] | None
)
"""What a job comes after."""

_WHOLE: Final = -1
"""In `depends_on`, until the id is known: the workflow itself."""


class Writer(Protocol):
    """Who writes a draft: the Queue."""

    def write_draft(self, draft: Draft) -> None:
        """In the transaction of the draft's connection, or one of its own."""

    async def awrite_draft(self, draft: Draft) -> None:
        """The async twin of `write_draft`."""

    def wait_for_workflow(self, workflow: int, timeout: float | timedelta | None = None) -> Workflow:
        """Wait until it has ended."""

    async def await_workflow(self, workflow: int, timeout: float | timedelta | None = None) -> Workflow:  # noqa: ASYNC109
        """The async twin of `wait_for_workflow`."""


class Draft:
    """A workflow, or what is to be added to one, between the lines of a `with` block (or `async with`).

    Nothing is written before the block ends, and nothing at all when it ends with an exception. Afterwards `id` is the
    workflow's, and each planned job has its id.

    Attributes:
        name, ref, fail_fast: of a new workflow.
        needs: what a job needs of those it comes after, unless it says otherwise.
        conn: the connection whose transaction it joins; None: a transaction of its own.
        jobs, streams: what was added so far: for whoever writes it.
    """

    def __init__(
        self,
        writer: Writer,
        name: str | None,
        *,
        ref: str | None = None,
        needs: Needs = "success",
        fail_fast: bool = False,
        conn: object = None,
        workflow: int | None = None,
    ) -> None:
        self._writer = writer
        self.name, self.ref, self.fail_fast, self.conn = name, ref, fail_fast, conn
        self.needs = _checked_needs(needs)
        self.workflow = workflow
        self.jobs: list[PlannedJob] = []
        self.streams: list[Iterable[Call] | AsyncIterable[Call]] = []
        self._id: int | None = None
        self._ended = False

    def __repr__(self) -> str:
        about = self.name if self._id is None else f"{self.name or ''} #{self._id}".strip()
        return f"<Draft {about} {len(self.jobs)} jobs>"

    @property
    def id(self) -> int:
        """The workflow's id. Raises NotWrittenYet inside the `with` block."""
        if self._id is None:
            raise NotWrittenYet("this workflow has no id yet: it is written when its `with` block ends")
        return self._id

    def wait(self, timeout: float | timedelta | None = None) -> Workflow:
        """After the block: wait until the workflow has ended, and give it as it then stands: see
        `Queue.wait_for_workflow`."""
        return self._writer.wait_for_workflow(self.id, timeout)

    async def await_end(self, timeout: float | timedelta | None = None) -> Workflow:  # noqa: ASYNC109
        """The async twin of `wait`."""
        return await self._writer.await_workflow(self.id, timeout)

    # ------------------------------------------------------------------------------------------ what belongs to it

    def add(self, call: Call, *, after: After = None, needs: Needs | None = None) -> PlannedJob:
        """One more job.

        Args:
            call: `task.call(…)`, or `task.using(…).call(…)` with any option but `conn`.
            after: what must have ended before: planned jobs, jobs, ids or whole workflows, up to 10,000; None: nothing.
            needs: what of them: "success", "any" or "failure"; None: as the workflow says.

        Raises InvalidOption, EnqueueError.
        """
        self._check(call)
        planned, ids = _split(after)
        ids += call.options.depends_on
        if len(planned) + len(ids) > MOST_PREDECESSORS:
            raise InvalidOption(
                f"{call.task.name} comes after {len(planned) + len(ids):,} jobs; {MOST_PREDECESSORS:,} is the most. "
                "Let them be a batch of their own, and depend on that as a whole."
            )
        if needs is None:
            needs = call.options.needs if call.options.depends_on else self.needs
        mine = {id(job) for job in self.jobs} if any(not job.is_written for job in planned) else set()
        for job in planned:
            if not job.is_written and id(job) not in mine:
                raise InvalidOption(f"after={job!r} is a job of another workflow that is not written yet")
        job = PlannedJob(call, tuple(planned), tuple(ids), _checked_needs(needs), self._writer)
        self.jobs.append(job)
        return job

    def add_all(self, calls: Iterable[Call], *, after: After = None, needs: Needs | None = None) -> list[PlannedJob]:
        """Fan out: each of these, after the same. For what comes after all of them: `add(…, after=jobs)`."""
        before = list(after) if isinstance(after, Iterable) else after
        return [self.add(call, after=before, needs=needs) for call in calls]

    def chain(self, *calls: Call, after: After = None, needs: Needs | None = None) -> list[PlannedJob]:
        """One after the other."""
        planned: list[PlannedJob] = []
        for call in calls:
            planned.append(self.add(call, after=planned[-1] if planned else after, needs=needs))
        return planned

    def add_many(self, calls: Iterable[Call] | AsyncIterable[Call]) -> None:
        """Many jobs that come after nothing, from any iterable, async ones in `async with`: it is read when the block
        ends, a thousand at a time, so that a generator of a million stays one."""
        if isinstance(calls, Call) or not isinstance(calls, Iterable | AsyncIterable):
            raise InvalidOption(f"add_many({quote(calls)}): wants many calls; add() takes one")
        self._open()
        self.streams.append(calls)

    def when_done(self, call: Call, *, needs: Needs = "success") -> PlannedJob:
        """A job that waits for the whole, whatever is added to it meanwhile: a callback.

        Args:
            call: `task.call(…)`.
            needs: "success": once all have succeeded (cancelled as soon as one has not); "failure": as soon as one has
                failed for good or was cancelled (cancelled when none did); "any": once all have ended, however.

        It is enqueued with the workflow, so it runs once or not at all. It is not among the jobs that are counted.
        """
        job = self.add(call, needs=needs)
        job.depends_on = (*job.depends_on, _WHOLE)
        return job

    # ------------------------------------------------------------------------------------------ the end of the block

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True
        if error is None:
            self._writer.write_draft(self)

    async def __aenter__(self) -> Self:
        self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True
        if error is None:
            await self._writer.awrite_draft(self)

    def written(self, workflow: int) -> None:
        """For whoever writes it: this is its id."""
        self._id = workflow
        for job in self.jobs:
            if _WHOLE in job.depends_on:
                job.depends_on = tuple(workflow if on == _WHOLE else on for on in job.depends_on)

    def _open(self) -> None:
        if self._ended:
            raise InvalidOption("this workflow is written: queue.grow(workflow) adds to one that runs")

    def _check(self, call: object) -> None:
        self._open()
        if type(call) is not Call:
            raise EnqueueError(f"a workflow has no place for {quote(call)}: wants a call, as in send.call(order_id=7)")
        if call.options.conn is not None:
            raise InvalidOption(
                f"{call.task.name} carries a conn= of its own; give the connection to the workflow: workflow(…, conn=…)"
            )


def _checked_needs(needs: Any) -> Needs:
    if needs not in get_args(Needs):
        near = did_you_mean(needs, get_args(Needs)) if isinstance(needs, str) else ""
        raise InvalidOption(f"needs={quote(needs)}: wants one of {', '.join(get_args(Needs))}.{near}")
    found: Needs = needs
    return found


def _split(after: After) -> tuple[list[PlannedJob], list[int]]:
    """The planned jobs of this or of an earlier workflow, and the ids."""
    planned: dict[int, PlannedJob] = {}
    ids: dict[int, None] = {}
    for one in _each(after):
        if isinstance(one, PlannedJob):
            planned[id(one)] = one
        elif isinstance(one, EnqueuedJob | Job | Workflow | Draft):
            ids[one.id] = None
        elif type(one) is int and 0 < one < 2**63:
            ids[one] = None
        else:
            raise InvalidOption(f"after holds {quote(one)}: wants jobs, planned or enqueued, their ids or workflows")
    return list(planned.values()), list(ids)


def _each(after: Any) -> Iterator[Any]:
    if after is None:
        return
    if isinstance(after, str | bytes) or (not isinstance(after, Iterable)):
        yield after
    else:
        yield from after
