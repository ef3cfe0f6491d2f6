"""The own async connections of one event loop, which go when the loop goes.

Loops come and go: `asyncio.run` in a script, one per test, one per call in asgiref's `async_to_sync`. Nobody
awaits `aclose()` before such a loop ends, and asyncio has no "this loop ends" hook, with one exception: on
the way out a loop closes the async generators that were begun on it (`loop.shutdown_asyncgens`, called by
`asyncio.run`, `Runner`, uvloop, anyio and asgiref). So each pool keeps one such generator, and its `finally`
lets the connections go.

Not psycopg_pool's AsyncConnectionPool: it connects in tasks of its own that take a cancellation for a failed
attempt and go on (psycopg#1401 is one of several such reports), so a program whose loop ended while the pool
was replacing a connection hung for ever in `asyncio.run`. Here there are no tasks: the caller connects, and
may be cancelled.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from psycopg import AsyncConnection, Error
from psycopg.pq import TransactionStatus

from pgjobq.run.health import is_pooled, is_quiet

__all__ = ["MAX_SIZE", "OWN", "PREPARE_AFTER", "WAIT_SECONDS", "LoopPool"]

MAX_SIZE = 10
WAIT_SECONDS = 10.0  # for a free connection
# One statement is one transaction, without round trips for BEGIN and COMMIT. Nothing is prepared behind a pooler: in
# transaction mode the next statement may meet another session. Without one, preparing saves 130 µs of each enqueue.
OWN = {"autocommit": True, "prepare_threshold": None}
PREPARE_AFTER = 2
"""Executions of a statement before it is prepared, where no pooler stands in between."""


class LoopPool:
    """Up to ten connections for the running event loop; `when_gone` is called as the loop ends."""

    def __init__(self, conninfo: str, when_gone: Callable[[], object]) -> None:
        self._conninfo = conninfo
        self._pid = os.getpid()
        self._closed = False
        self._free = asyncio.Semaphore(MAX_SIZE)
        self._idle: list[AsyncConnection[Any]] = []
        self._all: weakref.WeakSet[AsyncConnection[Any]] = weakref.WeakSet()
        self._begun = False
        self._end_of_loop = self._until_loop_ends(when_gone)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection[Any]]:
        """A connection in autocommit, for as long as the block runs; raises what `Pools.connection` raises."""
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._free.acquire()
        except TimeoutError:
            from psycopg_pool import PoolTimeout

            raise PoolTimeout(f"none of the {MAX_SIZE} connections became free within {WAIT_SECONDS:g} s") from None
        try:
            conn = await self._taken()
            try:
                yield conn
            finally:
                self._give_back(conn)
        finally:
            self._free.release()

    async def close(self) -> None:
        """Close what is idle now, and what is in use as it is given back."""
        self._closed = True
        while self._idle:
            await self._idle.pop().close()
        await self._end_of_loop.aclose()

    def drop(self) -> None:
        """Let all connections go without a loop: libpq says good-bye and closes the sockets.

        Not in a child of the process that made them: its good-bye would end the parent's sessions.
        """
        if os.getpid() == self._pid:
            for conn in list(self._all):
                conn.pgconn.finish()

    async def _taken(self) -> AsyncConnection[Any]:
        """The connection that was used last, if it still answers, else a new one."""
        while self._idle:
            conn = self._idle.pop()
            try:
                if not is_quiet(conn):
                    await conn.execute("")
            except Error:
                conn.pgconn.finish()
            except BaseException:
                conn.pgconn.finish()
                raise
            else:
                return conn
        if not self._begun:
            self._begun = True
            await anext(self._end_of_loop)
        conn = await AsyncConnection.connect(self._conninfo, **OWN)  # type: ignore[arg-type]
        self._all.add(conn)
        try:
            cursor = await conn.execute("SELECT pg_backend_pid()")
            if not is_pooled(conn, (await cursor.fetchall())[0][0]):
                conn.prepare_threshold = PREPARE_AFTER
        except BaseException:  # a cancellation above all
            conn.pgconn.finish()
            raise
        return conn

    def _give_back(self, conn: AsyncConnection[Any]) -> None:
        if not self._closed and conn.pgconn.transaction_status == TransactionStatus.IDLE:
            self._idle.append(conn)
        else:
            conn.pgconn.finish()

    async def _until_loop_ends(self, when_gone: Callable[[], object]) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            when_gone()
            if not self._closed:
                self.drop()
