"""How far the jobs are, and what they took: all read from the database."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg.rows import TupleRow

Conn = psycopg.Connection[TupleRow]


@dataclass(frozen=True, slots=True)
class Standing:
    """How many jobs stand where, how many attempts failed, how many jobs a dead worker left behind."""

    waiting: int = 0
    running: int = 0
    retrying: int = 0
    succeeded: int = 0
    lost: int = 0
    failed_attempts: int = 0
    taken_over: int = 0

    @property
    def total(self) -> int:
        return self.waiting + self.running + self.retrying + self.succeeded + self.lost

    @property
    def ended(self) -> bool:
        """Nothing is left that would change by itself."""
        return self.total == self.succeeded + self.lost


_LOOK = """
    SELECT count(*) FILTER (WHERE state IN ('ready', 'scheduled', 'blocked') AND attempt = 0),
           count(*) FILTER (WHERE state = 'running'),
           count(*) FILTER (WHERE state IN ('ready', 'scheduled', 'blocked') AND attempt > 0),
           count(*) FILTER (WHERE state = 'succeeded'),
           count(*) FILTER (WHERE state IN ('failed', 'cancelled')),
           (SELECT count(*) FROM pgjobq.attempt_error),
           (SELECT count(*) FROM pgjobq.attempt_error WHERE kind = 'WorkerDied')
    FROM pgjobq.jobs
"""


def look(conn: Conn) -> Standing:
    """The present standing of all jobs."""
    row = conn.execute(_LOOK).fetchone()
    assert row is not None
    return Standing(*row)


def jobs_in_hand(conn: Conn) -> dict[int, int]:
    """How many jobs each worker process holds, by its process id."""
    rows = conn.execute(
        "SELECT w.pid, count(*) FROM pgjobq.running r JOIN pgjobq.worker w ON w.id = r.worker GROUP BY 1"
    )
    return dict(rows.fetchall())


@dataclass(frozen=True, slots=True)
class Figures:
    """What it took. Times in seconds; `p50` and `p99`: from a job's enqueueing to its first start."""

    jobs: int
    seconds: float
    retries: int
    died_with_worker: int
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        """Jobs a second, from the first one enqueued to the last one finished."""
        return self.jobs / self.seconds if self.seconds else 0.0


_MEASURE = """
    WITH first AS (
        SELECT j.created_at, j.finished_at, j.attempt,
               extract(epoch FROM least(j.started_at, e.started_at) - j.created_at) AS wait
        FROM pgjobq.jobs j
        LEFT JOIN LATERAL (SELECT min(x.started_at) AS started_at
                           FROM pgjobq.attempt_error x WHERE x.job = j.id) e ON true)
    SELECT count(*),
           coalesce(extract(epoch FROM max(finished_at) - min(created_at)), 0)::float8,
           coalesce(sum(greatest(attempt - 1, 0)), 0)::int,
           (SELECT count(*) FROM pgjobq.attempt_error WHERE kind = 'WorkerDied'),
           coalesce(percentile_cont(0.5) WITHIN GROUP (ORDER BY wait), 0)::float8,
           coalesce(percentile_cont(0.99) WITHIN GROUP (ORDER BY wait), 0)::float8
    FROM first
"""


def measure(conn: Conn) -> Figures:
    """The figures of a finished run."""
    row = conn.execute(_MEASURE).fetchone()
    assert row is not None
    return Figures(*row)
