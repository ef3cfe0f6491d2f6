"""Jobs that depend on other jobs: the doors of a Queue to them."""

from __future__ import annotations

from pgjobq.current import current_job
from pgjobq.doors import Doors
from pgjobq.job import Job
from pgjobq.statements import flow

__all__ = ["Flow"]


class Flow(Doors):
    """The half of `Queue` that follows dependencies; `using(depends_on=…)` makes them."""

    def predecessors(self, job: int | None = None, *, conn: object = None) -> list[Job]:
        """The jobs that a job depends on, in the order of their ids; without one, those of the running job.

        `result_of()` gives what the handler of one of them returned. Those that retention has deleted are missing.
        """
        job = current_job().id if job is None else job
        return self._seen(self._run(flow.predecessors(self.schema, job), conn))

    async def apredecessors(self, job: int | None = None, *, conn: object = None) -> list[Job]:
        """The async twin of `predecessors`."""
        job = current_job().id if job is None else job
        return self._seen(await self._arun(flow.predecessors(self.schema, job), conn))

    def dependents(self, job: int, *, conn: object = None) -> list[Job]:
        """The jobs that depend on this one directly, in the order of their ids."""
        return self._seen(self._run(flow.dependents(self.schema, job), conn))

    async def adependents(self, job: int, *, conn: object = None) -> list[Job]:
        """The async twin of `dependents`."""
        return self._seen(await self._arun(flow.dependents(self.schema, job), conn))

    def retry_from(self, job: int, *, by: str | None = None, conn: object = None) -> list[int]:
        """Run a failed or cancelled job again, and after it all that was cancelled because of it.

        `by`: who wants this, for the audit; None: the database's role. Gives the ids of those that run again, first
        one first: none when the job is neither (any more).
        """
        return self._run(flow.retry_from(self.schema, job, by), conn)

    async def aretry_from(self, job: int, *, by: str | None = None, conn: object = None) -> list[int]:
        """The async twin of `retry_from`."""
        return await self._arun(flow.retry_from(self.schema, job, by), conn)
