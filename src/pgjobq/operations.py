"""What operators do with a queue: pause and resume it, and look at who did what. `Queue` inherits these doors."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from pgjobq.errors import InvalidOption, NaiveDatetime
from pgjobq.statements import operate

if TYPE_CHECKING:
    from pgjobq.job import AuditEntry, Pause
    from pgjobq.statements import Statement

__all__ = ["Operations"]

T = TypeVar("T")


class Operations:
    """The operators' half of `Queue`. `by`, wherever it is taken, is written to the audit: who wants this; None: the
    name of the database's role."""

    schema: str

    def _run(self, statement: Statement[T], conn: object) -> T:
        raise NotImplementedError

    async def _arun(self, statement: Statement[T], conn: object) -> T:
        raise NotImplementedError

    # ------------------------------------------------------------------------------------------ pause

    def pause(
        self,
        *,
        queue: str | None = None,
        task: str | None = None,
        until: datetime | timedelta | None = None,
        reason: str | None = None,
        by: str | None = None,
        conn: object = None,
    ) -> bool:
        """Let no job of a queue, or of a task, start; what runs goes on. Takes hold within a moment.

        Args:
            queue, task: one of the two, by name.
            until: when it ends by itself: a time with its zone, or from now; None: `resume` ends it.
            reason: shown to whoever asks why nothing runs.
            by: who wants this, for the audit; None: the database's role.
            conn: the connection whose transaction this joins; None: one of our own.

        Returns False when it was paused already: now it is so for this reason and until this time.
        """
        kind, name = _one(queue, task)
        return self._run(operate.pause(self.schema, kind, name, reason, _time(until), by), conn)

    async def apause(
        self,
        *,
        queue: str | None = None,
        task: str | None = None,
        until: datetime | timedelta | None = None,
        reason: str | None = None,
        by: str | None = None,
        conn: object = None,
    ) -> bool:
        """The async twin of `pause`."""
        kind, name = _one(queue, task)
        return await self._arun(operate.pause(self.schema, kind, name, reason, _time(until), by), conn)

    def resume(
        self, *, queue: str | None = None, task: str | None = None, by: str | None = None, conn: object = None
    ) -> bool:
        """Let the jobs of a queue, or of a task, start again. False when it was not paused."""
        kind, name = _one(queue, task)
        return self._run(operate.resume(self.schema, kind, name, by), conn)

    async def aresume(
        self, *, queue: str | None = None, task: str | None = None, by: str | None = None, conn: object = None
    ) -> bool:
        """The async twin of `resume`."""
        kind, name = _one(queue, task)
        return await self._arun(operate.resume(self.schema, kind, name, by), conn)

    def paused(self, *, conn: object = None) -> list[Pause]:
        """What is paused now."""
        return self._run(operate.paused(self.schema), conn)

    async def apaused(self, *, conn: object = None) -> list[Pause]:
        """The async twin of `paused`."""
        return await self._arun(operate.paused(self.schema), conn)

    # ------------------------------------------------------------------------------------------ cancel

    def cancel_running(
        self, job: int, *, reason: str | None = None, by: str | None = None, conn: object = None
    ) -> bool:
        """Cancel a job also if it runs already. False when it has ended or does not exist.

        A running coroutine is cancelled at its next `await`; a plain function meets an exception at its next step,
        which a call into C delays; an isolated one gets a signal, then is killed. One that returns all the same has
        succeeded.
        """
        return self._run(operate.cancel_running(self.schema, job, reason, by), conn)

    async def acancel_running(
        self, job: int, *, reason: str | None = None, by: str | None = None, conn: object = None
    ) -> bool:
        """The async twin of `cancel_running`."""
        return await self._arun(operate.cancel_running(self.schema, job, reason, by), conn)

    # ------------------------------------------------------------------------------------------ audit

    def audit(self, *, before: int | None = None, limit: int = 100, conn: object = None) -> list[AuditEntry]:
        """What operators did, newest first; `before` an entry's id continues the list."""
        return self._run(operate.audit(self.schema, before, limit), conn)

    async def aaudit(self, *, before: int | None = None, limit: int = 100, conn: object = None) -> list[AuditEntry]:
        """The async twin of `audit`."""
        return await self._arun(operate.audit(self.schema, before, limit), conn)


def _one(queue: str | None, task: str | None) -> tuple[str, str]:
    if queue is not None and task is None:
        return "queue", queue
    if task is not None and queue is None:
        return "task", task
    raise InvalidOption("name either a queue or a task: queue='mail' or task='send_mail'")


def _time(until: datetime | timedelta | None) -> datetime | None:
    if isinstance(until, timedelta):
        return datetime.now(UTC) + until
    if until is not None and until.utcoffset() is None:
        raise NaiveDatetime(f"until={until!r} has no time zone: datetime.now(UTC) + timedelta(hours=1) has one")
    return until
