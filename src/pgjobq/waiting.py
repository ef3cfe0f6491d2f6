"""Waiting for the end of a job or of a workflow: woken by a notification of the transaction that ends it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import aclosing, closing
from datetime import timedelta
from typing import TypeVar

from psycopg import sql

from pgjobq import run
from pgjobq.doors import Doors
from pgjobq.errors import JobNotSucceeded, NoSuchJob, NoSuchWorkflow, WaitTimeout
from pgjobq.job import Job, JobState
from pgjobq.looking import WATCHED, acommit, commit, deadline, looks
from pgjobq.statements import Statement, workflows
from pgjobq.statements import jobs as statements
from pgjobq.task import opened, shown
from pgjobq.workflow import Workflow

__all__ = ["Waiting"]

T = TypeVar("T", Job, Workflow)


class Waiting(Doors):
    """The doors of a Queue that wait for jobs and workflows."""

    def wait(self, job: int, timeout: float | timedelta | None = None) -> Job:
        """Wait until a job has succeeded, failed or been cancelled; gives the job as it then stands.

        Holds one of the queue's own connections until then. The transaction that enqueued the job must have been
        committed: waiting inside it would never end.

        Args:
            job: its id.
            timeout: seconds (or a timedelta) to wait at the most; None: as long as it takes.

        Raises:
            WaitTimeout: (a TimeoutError) the time is over; the job goes on.
            NoSuchJob: there is no such job, or not yet, or no longer.
        """
        return self._until(job, statements.get(self.schema, job), self._judged, timeout)

    async def await_job(self, job: int, timeout: float | timedelta | None = None) -> Job:  # noqa: ASYNC109
        """The async twin of `wait`."""
        return await self._auntil(job, statements.get(self.schema, job), self._judged, timeout)

    def wait_for_workflow(self, workflow: int, timeout: float | timedelta | None = None) -> Workflow:
        """Wait until a workflow has ended, with the jobs that were added to it meanwhile; gives it as it then stands.

        As `wait` for a job. The jobs that wait for it as a whole, its callbacks, have their turn only then.

        Raises WaitTimeout; NoSuchWorkflow.
        """
        return self._until(workflow, workflows.get(self.schema, workflow), _over, timeout)

    async def await_workflow(self, workflow: int, timeout: float | timedelta | None = None) -> Workflow:  # noqa: ASYNC109
        """The async twin of `wait_for_workflow`."""
        return await self._auntil(workflow, workflows.get(self.schema, workflow), _over, timeout)

    def result_of(self, job: Job) -> object:
        """What the handler of a job that has ended returned, as plain JSON values, opened if it is encrypted.

        Raises JobNotSucceeded when there is none, because the job failed or was cancelled.
        """
        if job.state is not JobState.SUCCEEDED:
            why = f": {job.reason}" if job.reason else ""
            raise JobNotSucceeded(f"job {job.id} ({job.task}) is {job.state}{why}", job)
        return opened(job, self.registry, None).result

    def _until(
        self,
        number: int,
        reading: Statement[T | None],
        judge: Callable[[int, T | None, float], T | None],
        timeout: float | timedelta | None,
    ) -> T:
        """Look until `judge` gives what has ended; woken when the end of this number is told."""
        until = deadline(timeout)
        with self.pools.connection() as conn:
            try:
                commit(conn, conn.execute(self._listen("LISTEN")))
                for look in looks():
                    if look.asks:
                        commit(conn, run.execute(conn, statements.watch(self.schema, number, WATCHED)))
                    found = run.execute(conn, reading)
                    commit(conn)
                    if ended := judge(number, found, until):
                        return ended
                    with closing(conn.notifies(timeout=min(look.seconds, until - time.monotonic()))) as notices:
                        for notice in notices:
                            if notice.payload == str(number):
                                break
                raise AssertionError("looks never end")
            finally:
                if not conn.broken:
                    commit(conn, conn.execute(self._listen("UNLISTEN")))

    async def _auntil(
        self,
        number: int,
        reading: Statement[T | None],
        judge: Callable[[int, T | None, float], T | None],
        timeout: float | timedelta | None,  # noqa: ASYNC109
    ) -> T:
        until = deadline(timeout)
        async with self.pools.aconnection() as conn:
            try:
                await acommit(conn, await conn.execute(self._listen("LISTEN")))
                for look in looks():
                    if look.asks:
                        await acommit(conn, await run.aexecute(conn, statements.watch(self.schema, number, WATCHED)))
                    found = await run.aexecute(conn, reading)
                    await acommit(conn)
                    if ended := judge(number, found, until):
                        return ended
                    seconds = min(look.seconds, until - time.monotonic())
                    async with aclosing(conn.notifies(timeout=seconds)) as notices:
                        async for notice in notices:
                            if notice.payload == str(number):
                                break
                raise AssertionError("looks never end")
            finally:
                if not conn.broken:
                    await acommit(conn, await conn.execute(self._listen("UNLISTEN")))

    def _judged(self, job: int, found: Job | None, until: float) -> Job | None:
        if found is None:
            raise NoSuchJob(
                f"there is no job {job}: the transaction that enqueued it has not been committed, or it was deleted"
            )
        if found.state.final:
            return shown(found, self.registry)
        if time.monotonic() >= until:
            raise WaitTimeout(f"job {job} ({found.task}) has not ended in time: it is {found.state}")
        return None

    def _listen(self, verb: str) -> sql.Composed:
        return sql.SQL(verb + " {}").format(sql.Identifier(f"{self.schema}:ended"))


def _over(number: int, found: Workflow | None, until: float) -> Workflow | None:
    if found is None:
        raise NoSuchWorkflow(
            f"there is no workflow {number}: the transaction that wrote it has not been committed, or it was deleted"
        )
    if found.state.final:
        return found
    if time.monotonic() >= until:
        raise WaitTimeout(
            f"workflow {number} ({found.name}) has not ended in time: {found.done:,} of its {found.total:,} jobs have"
        )
    return None
