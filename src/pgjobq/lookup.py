"""Out of the queue: the doors of a Queue to single jobs and plain lists of them."""

from __future__ import annotations

from pgjobq.doors import Doors
from pgjobq.errors import InvalidOption
from pgjobq.filters import conditions
from pgjobq.job import AttemptError, Job, JobState
from pgjobq.statements import Statement, operate
from pgjobq.statements import jobs as statements
from pgjobq.task import opened, shown

__all__ = ["Lookup"]

MOST_LISTED = 10_000


class Lookup(Doors):
    """What stands in a queue, by id, by ref and by state; `find` knows more filters."""

    def get(self, job: int, *, conn: object = None) -> Job | None:
        """The job of this id, or None."""
        return self._shown(self._run(statements.get(self.schema, job), conn))

    async def aget(self, job: int, *, conn: object = None) -> Job | None:
        """The async twin of `get`."""
        return self._shown(await self._arun(statements.get(self.schema, job), conn))

    def jobs(
        self,
        *,
        ref: str | None = None,
        state: JobState | str | None = None,
        queue: str | None = None,
        task: str | None = None,
        before: int | None = None,
        limit: int = 100,
        conn: object = None,
    ) -> list[Job]:
        """Jobs that pass every filter given, newest first; `before` an id continues the list. `limit`: 1..10,000."""
        found = self._run(self._listing(ref, state, queue, task, before, limit), conn)
        return self._seen(found)

    async def ajobs(
        self,
        *,
        ref: str | None = None,
        state: JobState | str | None = None,
        queue: str | None = None,
        task: str | None = None,
        before: int | None = None,
        limit: int = 100,
        conn: object = None,
    ) -> list[Job]:
        """The async twin of `jobs`."""
        found = await self._arun(self._listing(ref, state, queue, task, before, limit), conn)
        return self._seen(found)

    def decrypted(self, job: Job) -> Job:
        """The job with its arguments and its result opened, if they are encrypted; secrets stay hidden.

        Raises KeyMissing or CannotDecrypt.
        """
        return shown(opened(job, self.registry, self.encryption), self.registry)

    def _listing(
        self,
        ref: str | None,
        state: JobState | str | None,
        queue: str | None,
        task: str | None,
        before: int | None,
        limit: int,
    ) -> Statement[list[Job]]:
        if type(limit) is not int or not 1 <= limit <= MOST_LISTED:
            raise InvalidOption(f"limit={limit!r}: wants a whole number from 1 to {MOST_LISTED:,}")
        if state is not None:  # led by that state's table
            asked = conditions({"ref": ref, "state": state, "queue": queue, "task": task})
            return operate.find(self.schema, asked, limit, before)
        return statements.jobs(self.schema, ref=ref, state=None, queue=queue, task=task, before=before, limit=limit)

    def errors(self, job: int, *, conn: object = None) -> list[AttemptError]:
        """The failed attempts of a job, first one first."""
        return self._run(statements.errors(self.schema, job), conn)

    async def aerrors(self, job: int, *, conn: object = None) -> list[AttemptError]:
        """The async twin of `errors`."""
        return await self._arun(statements.errors(self.schema, job), conn)

    def misplaced(self, *, conn: object = None) -> list[tuple[int, str]]:
        """The jobs that do not stand in exactly one place, and where they stand: empty unless something is broken."""
        return self._run(statements.misplaced(self.schema), conn)

    async def amisplaced(self, *, conn: object = None) -> list[tuple[int, str]]:
        """The async twin of `misplaced`."""
        return await self._arun(statements.misplaced(self.schema), conn)
