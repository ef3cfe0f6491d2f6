"""Watching a job's progress: woken by a notification of the transaction that writes a report or ends the job."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, closing
from datetime import timedelta

from psycopg import sql

from pgjobq import run
from pgjobq.doors import Doors
from pgjobq.errors import NoSuchJob, WaitTimeout
from pgjobq.job import Job, Progress
from pgjobq.looking import WATCHED, acommit, commit, deadline, looks
from pgjobq.statements import jobs as statements

__all__ = ["Watching"]


class Watching(Doors):
    """The doors of a Queue that follow a job while it runs."""

    def watch_progress(self, job: int, timeout: float | timedelta | None = None) -> Iterator[Progress]:
        """How far a job has come, each time that it says so, until it has ended; the last report of all is always
        given.

        Holds one of the queue's own connections meanwhile; leave the loop, or close the generator, to give it back.

        Args:
            job: its id.
            timeout: seconds (or a timedelta) to watch at the most; None: as long as it takes.

        Raises:
            WaitTimeout: (a TimeoutError) the time is over; the job goes on.
            NoSuchJob: there is no such job, or not yet, or no longer.
        """
        until = deadline(timeout)
        seen: Progress | None = None
        with self.pools.connection() as conn:
            try:
                for channel in self._channels("LISTEN"):
                    commit(conn, conn.execute(channel))
                for look in looks():
                    if look.asks:
                        commit(conn, run.execute(conn, statements.watch(self.schema, job, WATCHED)))
                    found = _there(job, run.execute(conn, statements.get(self.schema, job)))
                    commit(conn)
                    if found.progress is not None and found.progress != seen:
                        seen = found.progress
                        yield seen
                    if _is_over(found, until):
                        return
                    with closing(conn.notifies(timeout=min(look.seconds, until - time.monotonic()))) as notices:
                        for notice in notices:
                            if notice.payload == str(job):
                                break
            finally:
                if not conn.broken:
                    with contextlib.suppress(Exception):
                        conn.rollback()
                    for channel in self._channels("UNLISTEN"):
                        commit(conn, conn.execute(channel))

    async def awatch_progress(
        self,
        job: int,
        timeout: float | timedelta | None = None,  # noqa: ASYNC109
    ) -> AsyncIterator[Progress]:
        """The async twin of `watch_progress`, for `async for`."""
        until = deadline(timeout)
        seen: Progress | None = None
        async with self.pools.aconnection() as conn:
            try:
                for channel in self._channels("LISTEN"):
                    await acommit(conn, await conn.execute(channel))
                for look in looks():
                    if look.asks:
                        await acommit(conn, await run.aexecute(conn, statements.watch(self.schema, job, WATCHED)))
                    found = _there(job, await run.aexecute(conn, statements.get(self.schema, job)))
                    await acommit(conn)
                    if found.progress is not None and found.progress != seen:
                        seen = found.progress
                        yield seen
                    if _is_over(found, until):
                        return
                    seconds = min(look.seconds, until - time.monotonic())
                    async with aclosing(conn.notifies(timeout=seconds)) as notices:
                        async for notice in notices:
                            if notice.payload == str(job):
                                break
            finally:
                if not conn.broken:
                    with contextlib.suppress(Exception):
                        await conn.rollback()
                    for channel in self._channels("UNLISTEN"):
                        await acommit(conn, await conn.execute(channel))

    def _channels(self, verb: str) -> list[sql.Composed]:
        return [
            sql.SQL(verb + " {}").format(sql.Identifier(f"{self.schema}:{channel}"))
            for channel in ("progress", "ended")
        ]


def _there(job: int, found: Job | None) -> Job:
    if found is None:
        raise NoSuchJob(
            f"there is no job {job}: the transaction that enqueued it has not been committed, or it was deleted"
        )
    return found


def _is_over(found: Job, until: float) -> bool:
    if found.state.final:
        return True
    if time.monotonic() >= until:
        raise WaitTimeout(f"job {found.id} ({found.task}) has not ended in time: it is {found.state}")
    return False
