"""The doors of a Queue that change one job, or a limit."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from pgjobq.doors import Doors
from pgjobq.job import Job
from pgjobq.statements import jobs as statements
from pgjobq.task import Options

__all__ = ["Changes"]


class Changes(Doors):
    """What may be done to a single job; many at once are changed by `retry_all`, `cancel_all` and `move_all`."""

    def retry(self, job: int, *, conn: object = None) -> bool:
        """Run a failed or cancelled job again, with a fresh budget of attempts.

        False when it is neither (any more): of two presses of one button the second changes nothing.
        """
        return self._run(statements.retry(self.schema, job), conn)

    async def aretry(self, job: int, *, conn: object = None) -> bool:
        """The async twin of `retry`."""
        return await self._arun(statements.retry(self.schema, job), conn)

    def cancel(self, job: int, *, conn: object = None) -> bool:
        """Cancel a job that waits (scheduled, blocked or ready). False when it runs, has ended or does not exist."""
        return self._run(statements.cancel(self.schema, job), conn)

    async def acancel(self, job: int, *, conn: object = None) -> bool:
        """The async twin of `cancel`."""
        return await self._arun(statements.cancel(self.schema, job), conn)

    def set_gate(self, key: str, *, concurrency: int, conn: object = None) -> None:
        """Set the limit of a gate in place of what its jobs were enqueued with, from now on and until `unset_gate`.

        Args:
            key: one key (`merchant:42`), or the name of a gate (`merchant:{merchant_id}`) for all its keys.
            concurrency: how many jobs of a key may run at once; 0: none is started. What runs goes on.
            conn: the connection whose transaction this joins; None: one of our own.
        """
        self._run(statements.set_gate(self.schema, key, concurrency), conn)

    async def aset_gate(self, key: str, *, concurrency: int, conn: object = None) -> None:
        """The async twin of `set_gate`."""
        await self._arun(statements.set_gate(self.schema, key, concurrency), conn)

    def unset_gate(self, key: str, *, conn: object = None) -> bool:
        """Back to the limit that the jobs were enqueued with. False: none was set."""
        return self._run(statements.unset_gate(self.schema, key), conn)

    async def aunset_gate(self, key: str, *, conn: object = None) -> bool:
        """The async twin of `unset_gate`."""
        return await self._arun(statements.unset_gate(self.schema, key), conn)

    def edit(
        self,
        job: int,
        arguments: Mapping[str, Any] | None = None,
        *,
        priority: int | None = None,
        run_at: datetime | None = None,
        delay: float | timedelta | None = None,
        conn: object = None,
    ) -> bool:
        """Change a job that waits. False when it runs, has ended or does not exist.

        Args:
            job: its id.
            arguments: all its arguments by name, in place of those it has; None: as they are.
            priority: -9..9; run_at, delay: when it is due, as in `using`; None: as they are. `delay=0`: now.
            conn: the connection whose transaction this joins; None: one of our own.

        Raises EnqueueError (the subclass says why) when the arguments or an option do not fit.
        """
        change = Options(priority=priority, run_at=run_at, delay=delay)  # type: ignore[arg-type]
        text = None
        if arguments is not None:
            found = self._run(statements.get(self.schema, job), conn)
            if found is None:
                return False
            text = self._edited(found, arguments)
        edit = statements.edit(self.schema, job, text, change.priority, change.run_at, change.delay)
        return self._run(edit, conn)

    async def aedit(
        self,
        job: int,
        arguments: Mapping[str, Any] | None = None,
        *,
        priority: int | None = None,
        run_at: datetime | None = None,
        delay: float | timedelta | None = None,
        conn: object = None,
    ) -> bool:
        """The async twin of `edit`."""
        change = Options(priority=priority, run_at=run_at, delay=delay)  # type: ignore[arg-type]
        text = None
        if arguments is not None:
            found = await self._arun(statements.get(self.schema, job), conn)
            if found is None:
                return False
            text = self._edited(found, arguments)
        edit = statements.edit(self.schema, job, text, change.priority, change.run_at, change.delay)
        return await self._arun(edit, conn)

    def _edited(self, job: Job, arguments: Mapping[str, Any]) -> str:
        return self.registry.get(job.task).using(queue=job.queue).call(**arguments).args_text
