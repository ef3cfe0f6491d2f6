"""The queue: thin doors to what SQL does. Every operation is `x()`, and awaited `ax()`; none is written twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, ParamSpec, TypedDict, TypeVar, Unpack, overload

from psycopg_pool import AsyncConnectionPool, ConnectionPool

from pgjobq import migrate
from pgjobq.ageing import Ageing
from pgjobq.bulk import Bulk
from pgjobq.changes import Changes
from pgjobq.durable import Durable
from pgjobq.encryption import Keyring
from pgjobq.enqueuing import Enqueuing
from pgjobq.errors import ConfigError
from pgjobq.flow import Flow
from pgjobq.gates import Gates
from pgjobq.history import History
from pgjobq.limits import Limits
from pgjobq.listeners import Listeners
from pgjobq.lookup import Lookup
from pgjobq.middleware import Around, Surroundings
from pgjobq.operations import Operations
from pgjobq.progress import Reporter
from pgjobq.retry import Retry
from pgjobq.run.pools import Pools
from pgjobq.schedules import ScheduleDoors
from pgjobq.settings import check_schema_name
from pgjobq.task import Chunk, Gate, Registry, Task, Unique, Upcast
from pgjobq.waiting import Waiting
from pgjobq.watching import Watching
from pgjobq.workflows import Workflows

__all__ = ["Queue"]

P = ParamSpec("P")
R = TypeVar("R")


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
    version: int
    upcasts: Mapping[int, Upcast] | None
    aliases: Iterable[str]


class Queue(
    Around,
    Workflows,
    Enqueuing,
    Lookup,
    Changes,
    Operations,
    Bulk,
    Limits,
    Gates,
    Ageing,
    ScheduleDoors,
    Waiting,
    Watching,
    Flow,
    Durable,
    History,
):
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
        self.surroundings = Surroundings(self.registry)
        self.listeners = Listeners()
        self._declared = {}
        self.pools = Pools(dsn, pool, apool)
        self.stores = self.pools
        self.reporter = Reporter(lambda statement: self.stores.execute(statement), lambda: self.schema)

    def __repr__(self) -> str:
        return f"<Queue schema={self.schema!r} tasks={len(self.registry)}>"

    # ------------------------------------------------------------------------------------------ tasks

    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R]: ...

    @overload
    def task(self, **options: Unpack[TaskOptions]) -> Callable[[Callable[P, R]], Task[P, R]]: ...

    @overload
    def task(self, *, chunk: Chunk, **options: Unpack[TaskOptions]) -> Callable[[Callable[P, R]], Task[..., R]]: ...

    def task(  # type: ignore[misc]  # mypy: no overload with a positional-only None
        self,
        function: Callable[P, R] | None = None,
        /,
        *,
        chunk: Chunk | None = None,
        **options: Unpack[TaskOptions],
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
            version: of its arguments; one more with each change that jobs enqueued before do not fit.
            upcasts: by older version, functions that make its arguments (a dict of JSON values) into the next one's.
            chunk: many jobs in one call: Chunk(size=100, wait=0.5); the handler takes a list of ChunkJobs.
            aliases: names that the task had, under which jobs may still be stored.

        Raises:
            TaskError: the function cannot be a task; DuplicateTask: the name is taken.
        """
        if function is not None:
            return self._register(function, chunk, options)
        return lambda function: self._register(function, chunk, options)

    def _register(self, function: Callable[P, R], chunk: Chunk | None, options: TaskOptions) -> Task[P, R]:
        options.setdefault("encryption", self.encryption)
        task = Task(function, self, chunk=chunk, **options)
        self.surroundings.wrap(task)
        self.registry.add(task)
        return task

    # ------------------------------------------------------------------------------------------ life

    def serve(self, dsn: str) -> None:
        """For the library: jobs of this database are run here, and what their attempts remember is kept there, whatever
        connections the application's own calls are given."""
        if not self.stores.leads_to(dsn):
            self.stores = self.pools if self.pools.leads_to(dsn) else Pools(dsn)

    def migrate(self) -> list[int]:
        """Create or update the schema; returns the versions that were applied. Safe to call at every start."""
        with self.pools.connection() as conn:
            return migrate.install(conn, self.schema)

    def close(self) -> None:
        """Close the connections this queue opened for sync calls."""
        for pools in {self.pools, self.stores}:
            pools.close()

    async def aclose(self) -> None:
        """Close all connections this queue opened."""
        for pools in {self.pools, self.stores}:
            await pools.aclose()
