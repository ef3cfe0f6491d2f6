"""The queue: thin doors to what SQL does. Every operation is `x()`, and awaited `ax()`; none is written twice."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Literal, ParamSpec, TypedDict, TypeVar, Unpack, overload

from psycopg_pool import AsyncConnectionPool, ConnectionPool

from pgjobq import migrate, run
from pgjobq.encryption import Keyring
from pgjobq.errors import ConfigError, EnqueueError, InvalidOption, JobExists
from pgjobq.flow import Flow
from pgjobq.job import AttemptError, EnqueuedJob, Job, JobState
from pgjobq.operations import Operations
from pgjobq.retry import Retry
from pgjobq.run.ahead import aexecute_ahead, execute_ahead
from pgjobq.run.pools import Pools
from pgjobq.schedules import ScheduleDoors
from pgjobq.settings import check_schema_name
from pgjobq.statements import Statement
from pgjobq.statements import jobs as statements
from pgjobq.statements.portions import aportions, portions
from pgjobq.task import Call, Gate, Options, Registry, Task, Unique, UsingOptions, opened, shown
from pgjobq.waiting import Waiting
from pgjobq.wording import quote

__all__ = ["Queue"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

MOST_LISTED = 10_000


class TaskOptions(TypedDict, total=False):
    """What `@queue.task(…)` takes; see Queue.task."""

    name: str | None
    queue: str
    priority: int
    retry: Retry | None
    timeout: float | None
    tags: Iterable[str]
    secrets: Iterable[str]
    encryption: Keyring | None
    isolation: Literal["process"] | None
    memory_limit: int | str | None
    gates: Iterable[Gate]
    unique: Unique | None


class Queue(Operations, ScheduleDoors, Waiting, Flow):
    """A job queue in one PostgreSQL schema, and the tasks that are enqueued through it.

    Args:
        dsn: a PostgreSQL connection string; None: `PGJOBQ_DSN`, `DATABASE_URL` or libpq's `PG*`, looked up at first
            use, so that importing the module needs no database.
        pool, apool: your own psycopg_pool pools for the calls without `conn=` (sync and async); never closed here.
        schema: the schema that `pgjobq migrate --schema` made; several queues may share a database.
        max_payload_bytes: limit of one job's encoded arguments, 1 byte and up.
        encryption: the key ring that arguments and results of its tasks are sealed with; None: stored as they are.

    Raises:
        ConfigError: the schema's name or the limit cannot be used.
    """

    def __init__(
        self,
        dsn: str | None = None,
        *,
        pool: ConnectionPool[Any] | None = None,
        apool: AsyncConnectionPool[Any] | None = None,
        schema: str = "pgjobq",
        max_payload_bytes: int = 1_048_576,
        encryption: Keyring | None = None,
    ) -> None:
        if type(max_payload_bytes) is not int or max_payload_bytes < 1:
            raise ConfigError(f"max_payload_bytes={max_payload_bytes!r}: wants a number of bytes, such as 1_048_576")
        self.schema = check_schema_name(schema)
        self.max_payload_bytes = max_payload_bytes
        self.encryption = encryption
        self.registry = Registry()
        self._declared = {}
        self.pools = Pools(dsn, pool, apool)

    def __repr__(self) -> str:
        return f"<Queue schema={self.schema!r} tasks={len(self.registry)}>"

    # ------------------------------------------------------------------------------------------ tasks

    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R]: ...

    @overload
    def task(self, **options: Unpack[TaskOptions]) -> Callable[[Callable[P, R]], Task[P, R]]: ...

    def task(  # type: ignore[misc]  # mypy: no overload with a positional-only None
        self, function: Callable[P, R] | None = None, /, **options: Unpack[TaskOptions]
    ) -> Task[P, R] | Callable[[Callable[P, R]], Task[P, R]]:
        """Register a function as a task; it stays callable as the plain function.

        Args:
            name: under which its jobs are stored; None: the function's name.
            queue: the queue its jobs go to, unless `using(queue=…)` says otherwise.
            priority: -9 (first) to 9 (last).
            retry: when a failed attempt is tried again; None: `Retry()`, 20 attempts.
            timeout: seconds one attempt may take; None: any time.
            tags: texts every job of the task carries.
            secrets: names of arguments that errors, logs and `Job.args` must not show, like those marked `Secret[…]`.
            encryption: a Keyring that seals the arguments and results of this task; None: they are not sealed, even
                if the queue has one; left out: as the queue says.
            isolation: "process": each attempt runs in a process of its own, one of a pool of the worker's, so that it
                uses another core, may crash, and can be ended at any moment; None: beside the worker's other jobs.
            memory_limit: memory this process may use, "512MB" or bytes: beyond it the handler gets MemoryError (Linux).
            gates: limits that its jobs share by a key, as [Gate("merchant:{merchant_id}", concurrency=3)].
            unique: what only one of its jobs may have, as Unique(args=("user",)); None: nothing.

        Raises:
            TaskError: the function cannot be a task; DuplicateTask: the name is taken.
        """
        if function is not None:
            return self._register(function, options)
        return lambda function: self._register(function, options)

    def _register(self, function: Callable[P, R], options: TaskOptions) -> Task[P, R]:
        options.setdefault("encryption", self.encryption)
        task = Task(function, self, **options)
        self.registry.add(task)
        return task

    # ------------------------------------------------------------------------------------------ enqueue

    def enqueue_call(self, call: Call) -> EnqueuedJob:
        """Write the job of a call (`task.call(…)`): what `task.enqueue(…)` does."""
        if call.key is not None:
            return self._receipt(call, *self._run(statements.enqueue_unique(self.schema, call), call.options.conn))
        job = self._run(statements.enqueue(self.schema, call), call.options.conn)
        return EnqueuedJob(job, call.task.name, call.queue, _door=self)

    async def aenqueue_call(self, call: Call) -> EnqueuedJob:
        """The async twin of `enqueue_call`."""
        if call.key is not None:
            return self._receipt(
                call, *await self._arun(statements.enqueue_unique(self.schema, call), call.options.conn)
            )
        job = await self._arun(statements.enqueue(self.schema, call), call.options.conn)
        return EnqueuedJob(job, call.task.name, call.queue, _door=self)

    def _receipt(self, call: Call, job: int, is_new: bool) -> EnqueuedJob:
        if not is_new and call.unique is not None and call.unique.on_conflict == "raise":
            raise JobExists(
                f"{call.task.name}: job {job} holds the unique key {quote(call.key)}; "
                "on_conflict='return' gives that job, 'replace' changes it while it waits"
            )
        return EnqueuedJob(job, call.task.name, call.queue, is_new, _door=self)

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

        Takes any iterable and streams it: a generator of a million calls needs the memory of two thousand. Without
        `conn` they share a transaction of their own, and the next thousand is made while the server writes the last;
        with it they join the caller's. On autocommit connections each thousand commits by itself. Calls that differ
        in their arguments only are written quickest. Of a unique job that was there already the id is that job's, or 0
        when the call was skipped.

        Raises EnqueueError (the subclass says why) when an element cannot be enqueued.
        """
        portioned = portions(self.schema, calls)
        ids: list[int] = []
        with _refusing_conflicts():
            if conn is None:
                with self.pools.transaction() as own:
                    return execute_ahead(own, portioned)
            for statement in portioned:
                portion = run.execute(conn, statement)
                ids += portion
        return ids

    async def aenqueue_many(self, calls: Iterable[Call] | AsyncIterable[Call], *, conn: object = None) -> list[int]:
        """The async twin of `enqueue_many`; takes and streams async iterables, too."""
        portioned = aportions(self.schema, calls)
        ids: list[int] = []
        with _refusing_conflicts():
            if conn is None:
                async with self.pools.atransaction() as own:
                    return await aexecute_ahead(own, portioned)
            async for statement in portioned:
                portion = await run.aexecute(conn, statement)
                ids += portion
        return ids

    # ------------------------------------------------------------------------------------------ look

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
        return [shown(job, self.registry) for job in found]

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
        return [shown(job, self.registry) for job in found]

    def decrypted(self, job: Job) -> Job:
        """The job with its arguments and its result opened, if they are encrypted; secrets stay hidden.

        Raises KeyMissing or CannotDecrypt.
        """
        return shown(opened(job, self.registry, self.encryption), self.registry)

    def _seen(self, jobs: list[Job]) -> list[Job]:
        return [shown(job, self.registry) for job in jobs]

    def _shown(self, job: Job | None) -> Job | None:
        return None if job is None else shown(job, self.registry)

    def _listing(
        self,
        ref: str | None,
        state: JobState | str | None,
        queue: str | None,
        task: str | None,
        before: int | None,
        limit: int,
    ) -> Statement[list[Job]]:
        if state is not None:  # led by that state's table
            return self._find(before, _limit(limit), {"ref": ref, "state": _state(state), "queue": queue, "task": task})
        return statements.jobs(
            self.schema, ref=ref, state=None, queue=queue, task=task, before=before, limit=_limit(limit)
        )

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

    # ------------------------------------------------------------------------------------------ change

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

    def migrate(self) -> list[int]:
        """Create or update the schema; returns the versions that were applied. Safe to call at every start."""
        with self.pools.connection() as conn:
            return migrate.install(conn, self.schema)

    def close(self) -> None:
        """Close the connections this queue opened for sync calls."""
        self.pools.close()

    async def aclose(self) -> None:
        """Close all connections this queue opened."""
        await self.pools.aclose()

    # ------------------------------------------------------------------------------------------ who executes

    def _run(self, statement: Statement[T], conn: object) -> T:
        return self.pools.execute(statement) if conn is None else run.execute(conn, statement)

    async def _arun(self, statement: Statement[T], conn: object) -> T:
        return await self.pools.aexecute(statement) if conn is None else await run.aexecute(conn, statement)


@contextmanager
def _refusing_conflicts() -> Iterator[None]:
    """Whatever driver brings it: the sentence of pgjobq.enqueue_unique is a JobExists."""
    try:
        yield
    except EnqueueError:
        raise
    except Exception as error:
        if found := _HOLDS.search(str(error)):
            raise JobExists(
                f"{found[0]}: of these calls none was enqueued, and their transaction can only be rolled back"
            ) from error
        raise


_HOLDS = re.compile(r"job \d+ holds the unique key '.*?'")


def _state(state: JobState | str | None) -> JobState | None:
    if state is None:
        return None
    try:
        return JobState(state)
    except ValueError:
        raise InvalidOption(f"state={quote(state)}: wants one of {', '.join(JobState)}") from None


def _limit(limit: int) -> int:
    if type(limit) is not int or not 1 <= limit <= MOST_LISTED:
        raise InvalidOption(f"limit={limit!r}: wants a whole number from 1 to {MOST_LISTED:,}")
    return limit
