"""Into the queue: the doors of a Queue that write jobs."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, Iterable, Mapping
from typing import Any, Unpack

from pgjobq import run
from pgjobq.doors import Doors
from pgjobq.errors import EnqueueError, JobExists, WorkflowEnded
from pgjobq.job import EnqueuedJob
from pgjobq.run.ahead import aexecute_ahead, execute_ahead
from pgjobq.statements import jobs as statements
from pgjobq.statements.limits import full
from pgjobq.statements.portions import aportions, portions
from pgjobq.task import Call, UsingOptions
from pgjobq.wording import quote

__all__ = ["Enqueuing", "refusals"]


class Enqueuing(Doors):
    """The half of `Queue` that applications use, mostly through `task.enqueue(…)`."""

    def enqueue_call(self, call: Call) -> EnqueuedJob:
        """Write the job of a call (`task.call(…)`): what `task.enqueue(…)` does."""
        with refusals:
            if call.key is not None:
                return self._receipt(call, *self._run(statements.enqueue_unique(self.schema, call), call.options.conn))
            job = self._run(statements.enqueue(self.schema, call), call.options.conn)
        return EnqueuedJob(job, call.task.name, call.queue, _door=self)

    async def aenqueue_call(self, call: Call) -> EnqueuedJob:
        """The async twin of `enqueue_call`."""
        with refusals:
            if call.key is not None:
                found = await self._arun(statements.enqueue_unique(self.schema, call), call.options.conn)
                return self._receipt(call, *found)
            job = await self._arun(statements.enqueue(self.schema, call), call.options.conn)
        return EnqueuedJob(job, call.task.name, call.queue, _door=self)

    def _receipt(self, call: Call, job: int, is_new: bool, queue: str | None) -> EnqueuedJob:
        if not is_new and call.unique is not None and call.unique.on_conflict == "raise":
            raise JobExists(
                f"{call.task.name}: job {job} holds the unique key {quote(call.key)}; "
                "on_conflict='return' gives that job, 'replace' changes it while it waits"
            )
        return EnqueuedJob(job, call.task.name, queue or call.queue, is_new, _door=self)

    def enqueue(
        self, task: str, arguments: Mapping[str, Any] | None = None, **options: Unpack[UsingOptions]
    ) -> EnqueuedJob:
        """Enqueue by the task's name; `options` are those of `using`.

        Raises UnknownTask when no task of that name is registered here.
        """
        return self.enqueue_call(self._named(task, arguments, options))

    async def aenqueue(
        self, task: str, arguments: Mapping[str, Any] | None = None, **options: Unpack[UsingOptions]
    ) -> EnqueuedJob:
        """The async twin of `enqueue`."""
        return await self.aenqueue_call(self._named(task, arguments, options))

    def _named(self, task: str, arguments: Mapping[str, Any] | None, options: UsingOptions) -> Call:
        return self.registry.get(task).using(**options).call(**(arguments or {}))

    def enqueue_many(self, calls: Iterable[Call], *, conn: object = None) -> list[int]:
        """Enqueue many calls (`task.call(…)`, also of different tasks), all or none; returns their ids in order.

        Takes any iterable and streams it: a generator of a million calls needs the memory of twelve thousand. Without
        `conn` they share a transaction of their own, and the next four thousand are made while the server writes the
        last; with it they join the caller's. On autocommit connections each four thousand commit by themselves. Calls
        that differ in their arguments only are written quickest. Of a unique job that was there already the id is that
        job's, or 0 when the call was skipped.

        Raises EnqueueError (the subclass says why) when an element cannot be enqueued.
        """
        return self._write_many(calls, conn)

    def _write_many(self, calls: Iterable[Call], conn: object) -> list[int]:
        portioned = portions(self.schema, calls)
        ids: list[int] = []
        with refusals:
            if conn is None:
                with self.pools.transaction() as own:
                    return execute_ahead(own, portioned)
            for statement in portioned:
                portion = run.execute(conn, statement)
                ids += portion
        return ids

    def _outgoing(self, calls: Iterable[Call], passages: list[Any]) -> Iterable[Call]:
        """Calls on their way into the database, where middleware may stand; whom to tell goes into `passages`."""
        del passages  # nothing does
        return calls

    def _turned_back(self, passages: list[Any], error: BaseException) -> None:
        """They were not written."""

    def _through(self, passages: list[Any], ids: list[int]) -> None:
        """They were, under these ids."""

    async def aenqueue_many(self, calls: Iterable[Call] | AsyncIterable[Call], *, conn: object = None) -> list[int]:
        """The async twin of `enqueue_many`; takes and streams async iterables, too."""
        return await self._awrite_many(calls, conn)

    async def _awrite_many(self, calls: Iterable[Call] | AsyncIterable[Call], conn: object) -> list[int]:
        portioned = aportions(self.schema, calls)
        ids: list[int] = []
        with refusals:
            if conn is None:
                async with self.pools.atransaction() as own:
                    return await aexecute_ahead(own, portioned)
            async for statement in portioned:
                portion = await run.aexecute(conn, statement)
                ids += portion
        return ids


class Refusals:
    """Whatever driver brings them: sentences of the server's that are errors of ours."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, Exception) or isinstance(error, EnqueueError):
            return
        if found := _HOLDS.search(str(error)):
            raise JobExists(
                f"{found[0]}: of these calls none was enqueued, and their transaction can only be rolled back"
            ) from error
        if refusal := full(error):
            raise refusal from error
        if found := _NO_MORE.search(str(error)):
            raise WorkflowEnded(found[0]) from error


refusals = Refusals()


_HOLDS = re.compile(r"job \d+ holds the unique key '.*?'")
_NO_MORE = re.compile(r"there is no workflow \d+.*|workflow \d+ (?:has ended|was cancelled): nothing can be added.*")
