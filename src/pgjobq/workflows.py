"""Workflows and batches: the doors of a Queue to jobs that belong together."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Any, Final

from pgjobq.current import current_job
from pgjobq.doors import Saying
from pgjobq.draft import Draft
from pgjobq.enqueuing import Enqueuing, refusals
from pgjobq.errors import InvalidOption
from pgjobq.statements import Statement
from pgjobq.statements import workflows as statements
from pgjobq.statements.portions import PORTION_JOBS, in_portions, portion_statement
from pgjobq.task import Call
from pgjobq.task.options import Needs, label_fault
from pgjobq.waiting import Waiting
from pgjobq.wording import quote
from pgjobq.workflow import Workflow, WorkflowGraph, WorkflowState

__all__ = ["Workflows"]

MOST_LISTED: Final = 10_000


class Workflows(Enqueuing, Waiting):
    """The half of `Queue` that writes workflows, looks at them and changes them as a whole."""

    # ------------------------------------------------------------------------------------------ write

    def workflow(
        self,
        name: str,
        *,
        ref: str | None = None,
        needs: Needs = "success",
        fail_fast: bool = False,
        conn: object = None,
    ) -> Draft:
        """Begin a workflow: `with queue.workflow("fulfil", ref="order:42", conn=conn) as flow: …`, or `async with`.

        Args:
            name: what sort of workflow it is, 1 to 255 characters.
            ref: the business thing it belongs to, such as "order:42"; its jobs have refs of their own.
            needs: what its jobs need of those they come after, unless one says otherwise; "any": it goes on when a
                job fails.
            fail_fast: as soon as one of its jobs has failed for good or was cancelled, cancel the others, as
                `cancel_workflow` does; False: only those that need it are.
            conn: the connection, cursor or session whose transaction it joins; None: a transaction of its own.

        It is written when the block ends; see Draft for what goes into it. Raises InvalidOption.
        """
        for fault in (label_fault("name", name), None if ref is None else label_fault("ref", ref)):
            if fault is not None:
                raise InvalidOption(fault)
        if type(fail_fast) is not bool:
            raise InvalidOption(f"fail_fast={quote(fail_fast)}: wants True or False")
        return Draft(self, name, ref=ref, needs=needs, fail_fast=fail_fast, conn=conn)

    def batch(
        self,
        name: str,
        calls: Iterable[Call] | AsyncIterable[Call] = (),
        *,
        on_success: Call | None = None,
        on_failure: Call | None = None,
        on_complete: Call | None = None,
        ref: str | None = None,
        fail_fast: bool = False,
        conn: object = None,
    ) -> Draft:
        """Begin a batch: a workflow of many jobs that wait for nothing, and up to three that wait for all of them.

        Args:
            name, ref, fail_fast, conn: as `workflow`.
            calls: its jobs; `add_many` in the block takes more.
            on_success: runs once all have succeeded.
            on_failure: runs as soon as one has failed for good or was cancelled.
            on_complete: runs once all have ended, however; at once when there are none.

        Each of these runs once at the most, also when jobs are added while the batch runs.
        """
        draft = self.workflow(name, ref=ref, fail_fast=fail_fast, conn=conn)
        callbacks: list[tuple[Call | None, Needs]] = [
            (on_success, "success"), (on_failure, "failure"), (on_complete, "any")
        ]  # fmt: skip
        for call, needs in callbacks:
            if call is not None:
                draft.when_done(call, needs=needs)
        if calls != ():
            draft.add_many(calls)
        return draft

    def grow(
        self, workflow: int | Workflow | Draft | None = None, *, needs: Needs = "success", conn: object = None
    ) -> Draft:
        """Add to a workflow that runs: `with queue.grow(17) as flow: flow.add(…)`, or `async with`.

        Args:
            workflow: which; None: the one to which the running job belongs.
            needs, conn: as `workflow`. On a connection of yours the workflow does not end before its transaction does.

        Raises InvalidOption when the running job belongs to none; at the end of the block WorkflowEnded when it has
        ended, was cancelled or does not exist.
        """
        if workflow is not None:
            number = workflow if isinstance(workflow, int) else workflow.id
            return Draft(self, None, needs=needs, conn=conn, workflow=number)
        return Draft(self, None, needs=needs, conn=conn, workflow=-current_job().id)

    def close_workflow(self, workflow: int, *, conn: object = None) -> bool:
        """Let a workflow end that was kept open: by SQL's start_workflow(open => true), or because its writing, on a
        connection in autocommit, did not come to the end. False: it was closed, or does not exist."""
        return self._run(statements.close(self.schema, workflow), conn)

    async def aclose_workflow(self, workflow: int, *, conn: object = None) -> bool:
        """The async twin of `close_workflow`."""
        return await self._arun(statements.close(self.schema, workflow), conn)

    # ------------------------------------------------------------------------------------------ look

    def get_workflow(self, workflow: int, *, conn: object = None) -> Workflow | None:
        """The workflow of this id, or None. Its jobs: `find(workflow=…)`."""
        return self._run(statements.get(self.schema, workflow), conn)

    async def aget_workflow(self, workflow: int, *, conn: object = None) -> Workflow | None:
        """The async twin of `get_workflow`."""
        return await self._arun(statements.get(self.schema, workflow), conn)

    def workflow_of(self, job: int | None = None, *, conn: object = None) -> Workflow | None:
        """The workflow to which a job belongs; without one, the running job."""
        return self._run(statements.get_of(self.schema, current_job().id if job is None else job), conn)

    async def aworkflow_of(self, job: int | None = None, *, conn: object = None) -> Workflow | None:
        """The async twin of `workflow_of`."""
        return await self._arun(statements.get_of(self.schema, current_job().id if job is None else job), conn)

    def workflows(
        self,
        *,
        name: str | None = None,
        ref: str | None = None,
        state: WorkflowState | str | None = None,
        before: int | None = None,
        limit: int = 100,
        conn: object = None,
    ) -> list[Workflow]:
        """Workflows that pass every filter given, newest first; `before` an id goes on. `limit`: 1..10,000."""
        return self._run(self._list(name, ref, state, before, limit), conn)

    async def aworkflows(
        self,
        *,
        name: str | None = None,
        ref: str | None = None,
        state: WorkflowState | str | None = None,
        before: int | None = None,
        limit: int = 100,
        conn: object = None,
    ) -> list[Workflow]:
        """The async twin of `workflows`."""
        return await self._arun(self._list(name, ref, state, before, limit), conn)

    def _list(
        self, name: str | None, ref: str | None, state: WorkflowState | str | None, before: int | None, limit: int
    ) -> Statement[list[Workflow]]:
        if type(limit) is not int or not 1 <= limit <= MOST_LISTED:
            raise InvalidOption(f"limit={limit!r}: wants a whole number from 1 to {MOST_LISTED:,}")
        if state is not None:
            try:
                state = WorkflowState(state)
            except ValueError:
                raise InvalidOption(f"state={quote(state)}: wants one of {', '.join(WorkflowState)}") from None
        return statements.list_(self.schema, name, ref, state, before, limit)

    def workflow_graph(self, workflow: int, *, conn: object = None) -> WorkflowGraph:
        """Its jobs, and what waits for what: up to 200 one by one, more of them by task."""
        return self._say(self._graph(workflow), conn)

    async def aworkflow_graph(self, workflow: int, *, conn: object = None) -> WorkflowGraph:
        """The async twin of `workflow_graph`."""
        return await self._asay(self._graph(workflow), conn)

    def _graph(self, workflow: int) -> Saying[WorkflowGraph]:
        found = yield statements.nodes(self.schema, workflow, grouped=False)
        if grouped := len(found) > statements.MOST_NODES:
            found = yield statements.nodes(self.schema, workflow, grouped=True)
        between = yield statements.links(self.schema, workflow, grouped=grouped)
        return statements.graph(found, between, grouped=grouped)

    # ------------------------------------------------------------------------------------------ change

    def cancel_workflow(
        self, workflow: int, *, reason: str | None = None, by: str | None = None, conn: object = None
    ) -> int | None:
        """Cancel what has not ended of a workflow: what waits at once, what runs as `cancel_running` does.

        Nothing can be added to it any more. Jobs that wait for the whole run, or are cancelled, as they need it.
        Returns how many jobs it concerned; None: the workflow has ended or does not exist.
        """
        return self._run(statements.cancel(self.schema, workflow, reason, by), conn)

    async def acancel_workflow(
        self, workflow: int, *, reason: str | None = None, by: str | None = None, conn: object = None
    ) -> int | None:
        """The async twin of `cancel_workflow`."""
        return await self._arun(statements.cancel(self.schema, workflow, reason, by), conn)

    def retry_workflow(self, workflow: int, *, by: str | None = None, conn: object = None) -> int | None:
        """Run again what failed in a workflow, and what was cancelled because of that or by an operator.

        Each job comes after those it depends on, as before; what succeeded stays as it is. Returns how many run again;
        None: there is no such workflow.
        """
        return self._run(statements.retry(self.schema, workflow, by), conn)

    async def aretry_workflow(self, workflow: int, *, by: str | None = None, conn: object = None) -> int | None:
        """The async twin of `retry_workflow`."""
        return await self._arun(statements.retry(self.schema, workflow, by), conn)

    # ------------------------------------------------------------------------------------------ how a draft is written

    def write_draft(self, draft: Draft) -> None:
        """For Draft: write it, in the transaction of its connection or in one of its own."""
        with refusals:
            if draft.conn is not None:
                self._write_on(draft.conn, draft)
                return
            with self.pools.transaction() as own:
                self._write_on(own, draft)

    async def awrite_draft(self, draft: Draft) -> None:
        """The async twin of `write_draft`."""
        with refusals:
            if draft.conn is not None:
                await self._awrite_on(draft.conn, draft)
                return
            async with self.pools.atransaction() as own:
                await self._awrite_on(own, draft)

    def _write_on(self, conn: object, draft: Draft) -> None:
        for stream in draft.streams:
            if not isinstance(stream, Iterable):
                raise InvalidOption(f"add_many({quote(stream)}): an async iterable wants `async with`")
        passages: list[Any] = []
        try:
            ids = self._say(self._beginning(draft, passages), conn)
            for stream in draft.streams:
                assert isinstance(stream, Iterable)
                for portion in in_portions(self._outgoing(stream, passages)):
                    ids += self._say(self._portion(draft.id, portion), conn)
            self._say(self._ending(draft), conn)
        except BaseException as error:
            self._turned_back(passages, error)
            raise
        self._through(passages, ids)

    async def _awrite_on(self, conn: object, draft: Draft) -> None:
        passages: list[Any] = []
        try:
            ids = await self._asay(self._beginning(draft, passages), conn)
            for stream in draft.streams:
                if isinstance(stream, AsyncIterable):
                    async for portion in _collected(stream):
                        ids += await self._asay(self._portion(draft.id, list(self._outgoing(portion, passages))), conn)
                else:
                    for portion in in_portions(self._outgoing(stream, passages)):
                        ids += await self._asay(self._portion(draft.id, portion), conn)
            await self._asay(self._ending(draft), conn)
        except BaseException as error:
            self._turned_back(passages, error)
            raise
        self._through(passages, ids)

    def _beginning(self, draft: Draft, passages: list[Any]) -> Saying[list[int]]:
        """The workflow, and its jobs."""
        workflow = draft.workflow
        if workflow is None:
            workflow = yield statements.start(self.schema, draft.name or "", draft.ref, draft.fail_fast)
        elif workflow < 0:
            job = -workflow
            workflow = yield statements.of_job(self.schema, job)
            if workflow is None:
                raise InvalidOption(f"job {job} belongs to no workflow: name the one to grow, queue.grow(17)")
        assert workflow is not None
        draft.written(workflow)
        ids: list[int] = []
        for start in range(0, len(draft.jobs), PORTION_JOBS):
            portion = draft.jobs[start : start + PORTION_JOBS]
            calls = list(self._outgoing((one.call for one in portion), passages))
            found = yield statements.add_jobs(self.schema, workflow, portion, calls)
            for one, job in zip(portion, found, strict=True):
                one.written(job)
            ids += found
        return ids

    def _portion(self, workflow: int, calls: list[Call]) -> Saying[list[int]]:
        """Jobs that come after nothing; alike ones on the shorter road."""
        found, joins = portion_statement(self.schema, workflow, calls)
        ids: list[int] = yield found
        if joins:
            yield statements.join(self.schema, workflow, ids)
        return ids

    def _ending(self, draft: Draft) -> Saying[None]:
        if draft.workflow is None:
            yield statements.close(self.schema, draft.id)


async def _collected(stream: AsyncIterable[Call]) -> AsyncIterator[list[Call]]:
    portion: list[Call] = []
    async for call in stream:
        portion.append(call)
        if len(portion) >= PORTION_JOBS:
            yield portion
            portion = []
    if portion:
        yield portion
