"""The own async pool of one event loop, which goes when the loop goes.

Loops come and go: `asyncio.run` in a script, one per test, one per call in asgiref's `async_to_sync`. Nobody
awaits `aclose()` before such a loop ends, and asyncio has no "this loop ends" hook, with one exception: on
the way out a loop closes the async generators that were begun on it (`loop.shutdown_asyncgens`, called by
`asyncio.run`, `Runner`, uvloop, anyio and asgiref). So each pool keeps one such generator, and its `finally`
lets the connections go.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool, PoolTimeout

__all__ = ["MAX_SIZE", "OWN", "WAIT_SECONDS", "LoopPool"]

MAX_SIZE = 10
WAIT_SECONDS = 10.0  # for a free connection
# One statement is one transaction, without round trips for BEGIN and COMMIT. Nothing is prepared: behind
# PgBouncer in transaction mode the next statement may meet another session.
OWN = {"autocommit": True, "prepare_threshold": None}


class LoopPool:
    """An AsyncConnectionPool for the running event loop, opened at first use; `when_gone` is called as the
    loop ends.
    """

    def __init__(self, conninfo: str, when_gone: Callable[[], object]) -> None:
        self._pid = os.getpid()
        self._opening = asyncio.Lock()
        self._open = False
        self._connections: weakref.WeakSet[AsyncConnection[Any]] = weakref.WeakSet()
        self._end_of_loop = self._until_loop_ends(when_gone)
        self._pool = AsyncConnectionPool(
            conninfo,
            name="pgjobq",
            kwargs=OWN,
            min_size=0,
            max_size=MAX_SIZE,
            timeout=WAIT_SECONDS,
            check=AsyncConnectionPool.check_connection,
            configure=self._remember,
            open=False,
        )

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection[Any]]:
        """A pooled connection in autocommit; raises what `Pools.connection` raises."""
        if not self._open:
            await self._begin()
        try:
            async with self._pool.connection() as conn:
                yield conn
        except PoolTimeout:
            await self._try_to_connect()
            raise

    async def close(self) -> None:
        """Close the pool while its loop runs."""
        if self._open:
            await self._pool.close()
        await self._end_of_loop.aclose()

    def drop(self) -> None:
        """Let the connections go without a loop: libpq says good-bye and closes the socket.

        Not in a child of the process that made them: its good-bye would end the parent's sessions.
        """
        if os.getpid() == self._pid:
            for conn in list(self._connections):
                conn.pgconn.finish()

    async def _begin(self) -> None:
        async with self._opening:
            if not self._open:
                await self._try_to_connect()
                await self._pool.open()
                await anext(self._end_of_loop)
                self._open = True

    async def _try_to_connect(self) -> None:
        """Says why not: a pool connects in a task of its own and only logs the reason (a wrong password)."""
        conn = await AsyncConnection.connect(str(self._pool.conninfo))
        await conn.close()

    async def _remember(self, conn: AsyncConnection[Any]) -> None:
        self._connections.add(conn)

    async def _until_loop_ends(self, when_gone: Callable[[], object]) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            when_gone()
            self.drop()
