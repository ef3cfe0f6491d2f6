"""What operators do with a queue: find, count, explain, pause, stop what runs. `Queue` inherits these doors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Unpack

from pgjobq.doors import Doors
from pgjobq.errors import InvalidOption, NaiveDatetime
from pgjobq.filters import Filters, conditions
from pgjobq.statements import operate
from pgjobq.wording import quote

if TYPE_CHECKING:
    from pgjobq.job import Explanation, Job
    from pgjobq.overview import AuditEntry, Pause, QueueStats, Stats, WorkerInfo
    from pgjobq.statements import Statement

__all__ = ["Operations"]

MOST_FOUND = 10_000


class Operations(Doors):
    """The operators' half of `Queue`; what changes many jobs at once is Bulk. `by`, wherever it is taken, is written to
    the audit: who wants this; None: the name of the database's role."""

    # ------------------------------------------------------------------------------------------ look

    def find(
        self, *, before: int | None = None, limit: int = 100, conn: object = None, **filters: Unpack[Filters]
    ) -> list[Job]:
        """Jobs that pass every filter given, newest first.

        Args:
            before: an id that continues the list.
            limit: 1..10,000.
            conn: the connection whose transaction this joins; None: one of our own.
            filters: see Filters.
        """
        return self._seen(self._run(self._find(before, limit, filters), conn))

    async def afind(
        self, *, before: int | None = None, limit: int = 100, conn: object = None, **filters: Unpack[Filters]
    ) -> list[Job]:
        """The async twin of `find`."""
        return self._seen(await self._arun(self._find(before, limit, filters), conn))

    def _find(self, before: int | None, limit: int, filters: Filters) -> Statement[list[Job]]:
        if type(limit) is not int or not 1 <= limit <= MOST_FOUND:
            raise InvalidOption(f"limit={limit!r}: wants a whole number from 1 to {MOST_FOUND:,}")
        return operate.find(self.schema, conditions(filters), limit, before)

    def count(self, *, most: int | None = None, conn: object = None, **filters: Unpack[Filters]) -> int:
        """How many jobs pass every filter given; `most` ends the count there, so that it stays quick."""
        return self._run(operate.count(self.schema, conditions(filters), most), conn)

    async def acount(self, *, most: int | None = None, conn: object = None, **filters: Unpack[Filters]) -> int:
        """The async twin of `count`."""
        return await self._arun(operate.count(self.schema, conditions(filters), most), conn)

    def explain(self, job: int, *, conn: object = None) -> Explanation | None:
        """Why this job does not run now, or why it failed, in sentences; None when it does not exist."""
        return self._run(operate.explain(self.schema, job), conn)

    async def aexplain(self, job: int, *, conn: object = None) -> Explanation | None:
        """The async twin of `explain`."""
        return await self._arun(operate.explain(self.schema, job), conn)

    def queues(self, *, conn: object = None) -> list[QueueStats]:
        """What waits and runs in each queue, by name."""
        return self._run(operate.queues(self.schema), conn)

    async def aqueues(self, *, conn: object = None) -> list[QueueStats]:
        """The async twin of `queues`."""
        return await self._arun(operate.queues(self.schema), conn)

    def workers(self, *, conn: object = None) -> list[WorkerInfo]:
        """The worker processes on the list, oldest first; those that died stay until their lease has run out."""
        return self._run(operate.workers(self.schema), conn)

    async def aworkers(self, *, conn: object = None) -> list[WorkerInfo]:
        """The async twin of `workers`."""
        return await self._arun(operate.workers(self.schema), conn)

    def stats(self, *, conn: object = None) -> Stats:
        """How many jobs there are in each state, and the pace."""
        return self._run(operate.stats(self.schema), conn)

    async def astats(self, *, conn: object = None) -> Stats:
        """The async twin of `stats`."""
        return await self._arun(operate.stats(self.schema), conn)

    # ------------------------------------------------------------------------------------------ pause

    def pause(
        self,
        *,
        queue: str | None = None,
        task: str | None = None,
        gate: str | None = None,
        until: datetime | timedelta | None = None,
        reason: str | None = None,
        by: str | None = None,
        conn: object = None,
    ) -> bool:
        """Let no job of a queue, of a task or behind a gate start; what runs goes on. Takes hold within a moment.

        Args:
            queue, task, gate: one of the three, by name; of a gate also a key, such as "merchant:7".
            until: when it ends by itself: a time with its zone, or from now; None: `resume` ends it.
            reason: shown to whoever asks why nothing runs.
            by: who wants this, for the audit; None: the database's role.
            conn: the connection whose transaction this joins; None: one of our own.

        Returns False when it was paused already: now it is so for this reason and until this time. Raises InvalidOption
        when `until` is over, by the server's clock.
        """
        kind, name = _one(queue, task, gate)
        with _in_time(until):
            return self._run(operate.pause(self.schema, kind, name, reason, _time(until), by), conn)

    async def apause(
        self,
        *,
        queue: str | None = None,
        task: str | None = None,
        gate: str | None = None,
        until: datetime | timedelta | None = None,
        reason: str | None = None,
        by: str | None = None,
        conn: object = None,
    ) -> bool:
        """The async twin of `pause`."""
        kind, name = _one(queue, task, gate)
        with _in_time(until):
            return await self._arun(operate.pause(self.schema, kind, name, reason, _time(until), by), conn)

    def resume(
        self,
        *,
        queue: str | None = None,
        task: str | None = None,
        gate: str | None = None,
        by: str | None = None,
        conn: object = None,
    ) -> bool:
        """Let the jobs of a queue, of a task or behind a gate start again. False when it was not paused."""
        kind, name = _one(queue, task, gate)
        return self._run(operate.resume(self.schema, kind, name, by), conn)

    async def aresume(
        self,
        *,
        queue: str | None = None,
        task: str | None = None,
        gate: str | None = None,
        by: str | None = None,
        conn: object = None,
    ) -> bool:
        """The async twin of `resume`."""
        kind, name = _one(queue, task, gate)
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


def _one(queue: str | None, task: str | None, gate: str | None) -> tuple[str, str]:
    named = [(kind, name) for kind, name in (("queue", queue), ("task", task), ("gate", gate)) if name is not None]
    if len(named) == 1:
        return named[0]
    raise InvalidOption("name one: queue='mail', task='send_mail' or gate='merchant:7'")


def _time(until: datetime | timedelta | None) -> datetime | timedelta | None:
    if isinstance(until, datetime) and until.utcoffset() is None:
        raise NaiveDatetime(f"until={until!r} has no time zone: datetime.now(UTC) + timedelta(hours=1) has one")
    if until is not None and not isinstance(until, datetime | timedelta):
        raise InvalidOption(f"until={quote(until)}: wants a datetime, or a timedelta from now")
    if isinstance(until, timedelta) and until <= timedelta(0):
        raise InvalidOption(f"until={until!r}: wants a time to come; `resume` ends a pause now")
    return until


@contextmanager
def _in_time(until: object) -> Iterator[None]:
    """Whether a time is over is for the server's clock to say."""
    try:
        yield
    except Exception as error:
        if isinstance(error, InvalidOption) or "wants a time to come" not in str(error):
            raise
        raise InvalidOption(f"until={until!r}: wants a time to come, by the server's clock") from error
