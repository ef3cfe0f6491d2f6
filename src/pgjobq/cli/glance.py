"""What `pgjobq top` sees in one look at the queue; each look is bounded, whatever the tables hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from psycopg import ConnectionInfo

from pgjobq.job import Job, JobState
from pgjobq.overview import Pause
from pgjobq.queue import Queue
from pgjobq.statements.history import Minute
from pgjobq.survey import Counts, Filter, QueueFigures, Survey, WorkerFigures

__all__ = ["Glance", "glance"]

MINUTES = 60
NEWEST_FAILED = 50


@dataclass(frozen=True, slots=True)
class Glance:
    """The queue at one moment."""

    at: datetime
    database: str
    counts: Counts
    queues: list[QueueFigures]
    workers: list[WorkerFigures]
    failed: list[Job]
    """The newest ones, the last that failed first."""
    minutes: list[Minute]
    pace: dict[str, float] = field(default_factory=dict)
    """Jobs that ended in a minute, of the last ten, by queue."""
    pauses: list[Pause] = field(default_factory=list)
    only: str | None = None
    """The queue that failures and minutes are of; None: all."""


def glance(queue: Queue, only: str | None = None) -> Glance:
    """Look once. Raises psycopg's errors."""
    survey = Survey(queue)
    with queue.pools.connection() as conn:
        return Glance(
            at=datetime.now(UTC),
            database=_named(conn.info),
            counts=survey.counts(conn=conn),
            queues=survey.queues(conn=conn),
            workers=survey.workers(conn=conn),
            failed=survey.look(Filter(state=JobState.FAILED, queue=only), limit=NEWEST_FAILED, conn=conn).jobs,
            minutes=queue.history(MINUTES, queue=only, conn=conn),
            pace={one.queue: one.pace for one in queue.totals(conn=conn)},
            pauses=queue.paused(conn=conn),
            only=only,
        )


def _named(info: ConnectionInfo) -> str:
    """The database and its server, never the password."""
    if not info.host or info.host.startswith("/"):  # a socket
        return f"{info.dbname} on this machine"
    return f"{info.dbname} on {info.host}:{info.port}"
