"""The doors of a Queue that change one job."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from pgjobq.doors import Doors
from pgjobq.errors import InvalidOption
from pgjobq.job import Job
from pgjobq.statements import Statement, operate, steps
from pgjobq.statements import jobs as statements
from pgjobq.task import Call, Options

__all__ = ["Changes"]


class Changes(Doors):
    """What may be done to a single job; many at once are changed by `retry_all`, `cancel_all` and `move_all`."""

    def retry(self, job: int, *, forget_steps: bool = False, by: str | None = None, conn: object = None) -> bool:
        """Run a failed or cancelled job again, with a fresh budget of attempts; one that had expired, without a limit.

        It goes on behind the steps that its attempts have taken; with `forget_steps` it begins anew.

        `by`, here and below: who wants this, for the audit; None: the database's role. False when it is neither failed
        nor cancelled (any more): of two presses of one button the second changes nothing.
        """
        return self._run(self._retry(job, forget_steps, by), conn)

    async def aretry(self, job: int, *, forget_steps: bool = False, by: str | None = None, conn: object = None) -> bool:
        """The async twin of `retry`."""
        return await self._arun(self._retry(job, forget_steps, by), conn)

    def _retry(self, job: int, forget_steps: bool, by: str | None) -> Statement[bool]:
        return steps.retry_anew(self.schema, job, by) if forget_steps else self._act("retry", job, by)

    def cancel(self, job: int, *, by: str | None = None, conn: object = None) -> bool:
        """Cancel a job that waits (scheduled, blocked or ready). False when it runs, has ended or does not exist."""
        return self._run(self._act("cancel", job, by), conn)

    async def acancel(self, job: int, *, by: str | None = None, conn: object = None) -> bool:
        """The async twin of `cancel`."""
        return await self._arun(self._act("cancel", job, by), conn)

    def _act(self, what: str, job: int, by: str | None) -> Statement[bool]:
        return operate.act_on_one(self.schema, what, job, by)

    def edit(
        self,
        job: int,
        arguments: Mapping[str, Any] | None = None,
        *,
        priority: int | None = None,
        run_at: datetime | None = None,
        delay: float | timedelta | None = None,
        expires: float | timedelta | datetime | None = None,
        by: str | None = None,
        conn: object = None,
    ) -> bool:
        """Change a job that waits. False when it runs, has ended or does not exist.

        Args:
            job: its id.
            arguments: all its arguments by name, in place of those it has; None: as they are.
            priority: -9..9; run_at, delay: when it is due, as in `using`; None: as they are. `delay=0`: now.
            expires: when nobody needs it any more, as in `using`; None: as it is.
            by: who wants this, for the audit; None: the database's role.
            conn: the connection whose transaction this joins; None: one of our own.

        Raises EnqueueError (the subclass says why) when the arguments or an option do not fit.
        """
        change = _change(priority, run_at, delay, expires)
        call = None
        if arguments is not None:
            found = self._run(statements.get(self.schema, job), conn)
            if found is None:
                return False
            call = self._edited(found, arguments)
        return self._run(statements.edit(self.schema, job, call, change, by), conn)

    async def aedit(
        self,
        job: int,
        arguments: Mapping[str, Any] | None = None,
        *,
        priority: int | None = None,
        run_at: datetime | None = None,
        delay: float | timedelta | None = None,
        expires: float | timedelta | datetime | None = None,
        by: str | None = None,
        conn: object = None,
    ) -> bool:
        """The async twin of `edit`."""
        change = _change(priority, run_at, delay, expires)
        call = None
        if arguments is not None:
            found = await self._arun(statements.get(self.schema, job), conn)
            if found is None:
                return False
            call = self._edited(found, arguments)
        return await self._arun(statements.edit(self.schema, job, call, change, by), conn)

    def _edited(self, job: Job, arguments: Mapping[str, Any]) -> Call:
        task = self.registry.get(job.task)
        if task.encryption is not None and task.name != job.task:
            raise InvalidOption(
                f"job {job.id} was enqueued as {job.task!r} and its arguments are sealed under that name, so they "
                f"cannot be replaced now that the task is called {task.name!r}. Cancel it, and enqueue another one."
            )
        return task.using(queue=job.queue).call(**arguments)


def _change(priority: int | None, run_at: datetime | None, delay: object, expires: object) -> Options:
    return Options(priority=priority, run_at=run_at, delay=delay, expires=expires)  # type: ignore[arg-type]
