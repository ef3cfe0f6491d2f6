"""The library's own connections, for calls without `conn=`: opened at first use, ten at most, every statement
a transaction of its own.

A pool belongs to the process that made it: after a fork the child leaves its parent's sockets alone
and opens its own. An async pool belongs to its event loop: `loop_pool` says how it goes when the loop goes.

psycopg_pool is imported where it is first needed: a worker process whose handlers enqueue nothing never needs it.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from psycopg import AsyncConnection, Connection, OperationalError

from pgjobq.errors import ConfigError
from pgjobq.run import aexecute, execute
from pgjobq.run.dsn import completed, find_dsn
from pgjobq.run.health import is_pooled, is_quiet
from pgjobq.run.loop_pool import MAX_SIZE, OWN, PREPARE_AFTER, WAIT_SECONDS, LoopPool
from pgjobq.statements import Statement

if TYPE_CHECKING:
    from psycopg_pool import AsyncConnectionPool, ConnectionPool

__all__ = ["Pools"]

T = TypeVar("T")
UNKNOWN = (
    "pgjobq: the connection was lost before the answer came, so this may have been done or not (a job may have been "
    "enqueued): look before you do it again, for example with queue.jobs(ref=…)"
)
# Pools that were inherited through a fork. Closing or collecting one would wait for threads that do not exist
# in the child, so they are kept, untouched.
_INHERITED: list[object] = []


class Pools:
    """One pool for sync calls and one per event loop for async calls: the given ones, else own ones made from
    the DSN.

    `dsn` as for `find_dsn`, looked up at first use (MissingDsn, ConfigError). A given `pool` or `apool` is
    used as it is: whoever made it opens and closes it. After `close()` or `aclose()` the next call opens a
    new pool.
    """

    def __init__(
        self,
        dsn: str | None = None,
        pool: ConnectionPool[Any] | None = None,
        apool: AsyncConnectionPool[Any] | None = None,
    ) -> None:
        _check_pools(pool, apool)
        self._dsn = dsn
        self._given = pool
        self._agiven = apool
        self._start_empty()

    def _start_empty(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._own: ConnectionPool[Connection[Any]] | None = None
        self._loops: dict[asyncio.AbstractEventLoop, LoopPool] = {}
        self._at_exit: weakref.finalize[Any, Any] | None = None

    def execute(self, statement: Statement[T]) -> T:
        """Run `statement` in a transaction of its own and commit it; raises what `run.execute` raises."""
        with self.connection() as conn, _told_when_unknown():
            return execute(conn, statement)

    async def aexecute(self, statement: Statement[T]) -> T:
        """The same, awaited."""
        async with self.aconnection() as conn:
            with _told_when_unknown():
                return await aexecute(conn, statement)

    def dsn(self, override: str | None = None) -> str:
        """The connection string a worker of this queue uses for connections of its own: `override`, else the
        dsn, else the one of a given pool. Raises MissingDsn and ConfigError as `find_dsn` does.
        """
        given = self._given or self._agiven
        if override is None and self._dsn is None and given is not None and isinstance(given.conninfo, str):
            return given.conninfo
        return find_dsn(self._dsn if override is None else override, os.environ)

    def leads_to(self, dsn: str) -> bool:
        """Whether its connections are its own and go to what this connection string names."""
        try:
            return self._given is None and self._agiven is None and self.dsn() == dsn
        except ConfigError:
            return False

    @contextmanager
    def transaction(self) -> Iterator[Connection[Any]]:
        """A pooled connection inside a transaction that is committed at the end, rolled back by an error."""
        with self.connection() as conn, _told_when_unknown(), conn.transaction():
            yield conn

    @asynccontextmanager
    async def atransaction(self) -> AsyncIterator[AsyncConnection[Any]]:
        """The same, awaited."""
        async with self.aconnection() as conn:
            with _told_when_unknown():
                async with conn.transaction():
                    yield conn

    @contextmanager
    def connection(self) -> Iterator[Connection[Any]]:
        """A pooled connection, in autocommit unless it comes from a given pool; given back at the end.

        Raises psycopg's OperationalError when the database cannot be reached, and PoolTimeout when it can but
        no connection became free within 10 s.
        """
        from psycopg_pool import PoolTimeout

        pool = self._given or self._opened()
        try:
            with pool.connection() as conn:
                yield conn
        except PoolTimeout:
            if pool is self._own:
                _try_to_connect(str(pool.conninfo))
            raise

    @asynccontextmanager
    async def aconnection(self) -> AsyncIterator[AsyncConnection[Any]]:
        """The same, awaited."""
        async with self._agiven.connection() if self._agiven else self._loop_pool().connection() as conn:
            yield conn

    def close(self) -> None:
        """Close the own sync pool, and async pools whose event loop is gone; a call that runs may end first.

        The async pool of a running loop is closed by `aclose()`, at the latest when the loop ends.
        """
        self._mind_fork()
        with self._lock:
            own, self._own = self._own, None
        if own is not None:
            assert self._at_exit is not None
            self._at_exit.detach()
            own.close()
        self._sweep()

    async def aclose(self) -> None:
        """Close the own pools: the async one of this event loop and, in a thread, the sync one."""
        self._mind_fork()
        if mine := self._loops.pop(asyncio.get_running_loop(), None):
            await mine.close()
        await asyncio.to_thread(self.close)

    def _opened(self) -> ConnectionPool[Any]:
        self._mind_fork()
        if own := self._own:  # looked at once: another thread may close it at any moment
            return own
        with self._lock:
            if self._own is None:
                self._own = self._open(self._conninfo("pool"))
            return self._own

    def _open(self, conninfo: str) -> ConnectionPool[Connection[Any]]:
        from psycopg_pool import ConnectionPool

        first = Connection.connect(conninfo, **OWN)  # type: ignore[arg-type]  # says why not: see _try_to_connect
        pool = ConnectionPool(
            conninfo,
            name="pgjobq",
            connection_class=_handing_over(first),
            kwargs=OWN,
            min_size=0,
            max_size=MAX_SIZE,
            timeout=WAIT_SECONDS,
            configure=_prepare_where_possible,
            check=_check,
            open=True,
        )
        self._at_exit = weakref.finalize(self, _close_in, os.getpid(), pool)
        return pool

    def _loop_pool(self) -> LoopPool:
        self._mind_fork()
        loop = asyncio.get_running_loop()
        if (mine := self._loops.get(loop)) is None:
            self._sweep()
            # Entered in the table before anything is awaited: two first calls at once share one pool.
            mine = self._loops[loop] = LoopPool(self._conninfo("apool"), lambda: self._loops.pop(loop, None))
        return mine

    def _sweep(self) -> None:
        """Let go of the pools whose loop was closed without ending its async generators."""
        for loop in [loop for loop in list(self._loops) if loop.is_closed()]:
            if gone := self._loops.pop(loop, None):
                gone.drop()

    def _mind_fork(self) -> None:
        if self._pid != os.getpid():
            if self._at_exit is not None:
                self._at_exit.detach()
            _INHERITED.append((self._own, self._loops))
            self._start_empty()

    def _conninfo(self, wanted: str) -> str:
        other = "apool" if wanted == "pool" else "pool"
        if self._dsn is None and (self._given or self._agiven):
            twin = "awaited calls" if wanted == "apool" else "calls that are not awaited"
            raise ConfigError(
                f"this queue was given {other}= only, and {twin} without conn= need {wanted}= "
                "(or a dsn): give both to Queue(…), or pass conn="
            )
        return completed(find_dsn(self._dsn, os.environ), os.environ)


@contextmanager
def _told_when_unknown() -> Iterator[None]:
    """Say so when a connection was lost before the answer came: the commit may have been done all the same."""
    try:
        yield
    except OperationalError as error:
        if error.sqlstate is None:  # not the server's word
            error.add_note(UNKNOWN)
        raise


def _prepare_where_possible(conn: Connection[Any]) -> None:
    if not is_pooled(conn, conn.execute("SELECT pg_backend_pid()").fetchall()[0][0]):
        conn.prepare_threshold = PREPARE_AFTER


def _check(conn: Connection[Any]) -> None:
    from psycopg_pool import ConnectionPool

    if not is_quiet(conn):
        ConnectionPool.check_connection(conn)


def _handing_over(first: Connection[Any]) -> type[Connection[Any]]:
    """A class of connections whose first one is there already: a process that enqueues once connects once."""
    waiting = [first]

    class Handed(Connection[Any]):
        @classmethod
        def connect(cls, *given: Any, **named: Any) -> Connection[Any]:  # type: ignore[override]
            with suppress(IndexError):  # asked from several threads
                return waiting.pop()
            return Connection.connect(*given, **named)

    return Handed


def _try_to_connect(conninfo: str) -> None:
    """Says why not: a pool connects in a thread of its own and only logs the reason (a wrong password)."""
    Connection.connect(conninfo).close()


def _close_in(pid: int, pool: ConnectionPool[Any]) -> None:
    if os.getpid() == pid:
        pool.close()


def _check_pools(pool: object, apool: object) -> None:
    if pool is None and apool is None:
        return
    from psycopg_pool import AsyncConnectionPool, ConnectionPool

    for name, given, wanted in (("pool", pool, ConnectionPool), ("apool", apool, AsyncConnectionPool)):
        if given is not None and not isinstance(given, wanted):
            got = f"{type(given).__module__}.{type(given).__qualname__}"
            raise ConfigError(f"{name}= got a {got}: it takes a psycopg_pool.{wanted.__name__}")
