"""What stands in the database, as metrics."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pgjobq.metrics.family import Family
from pgjobq.overview import Pause, QueueStats, Stats, WorkerInfo

__all__ = ["MOST_QUEUES", "Standing", "gauges"]

MOST_QUEUES = 200
"""Queues that are told apart, those with the most jobs; the others are added up as `(other)`."""
STATES = ("ready", "running", "scheduled", "blocked")


@dataclass(frozen=True, slots=True)
class Standing:
    """What was asked of the database, and how long the answers took."""

    queues: list[QueueStats]
    workers: list[WorkerInfo]
    stats: Stats
    pauses: list[Pause]
    now: datetime
    seconds: float


def gauges(standing: Standing) -> list[Family]:
    """Depth and age by queue, workers, failed jobs."""
    jobs = Family("pgjobq_queue_jobs", "gauge", "Jobs that wait or run, by queue and state.")
    oldest = Family(
        "pgjobq_queue_oldest_ready_seconds", "gauge",
        "For how long the oldest ready job of the queue has been enqueued; 0: none is ready.",
    )  # fmt: skip
    served = Family("pgjobq_queue_workers", "gauge", "Live worker processes that serve the queue.")
    paused = Family("pgjobq_queue_paused", "gauge", "1: the queue is paused.")
    for queue in _bounded(standing.queues):
        for state in STATES:
            jobs.add(getattr(queue, state), queue=queue.name, state=state)
        age = (standing.now - queue.oldest).total_seconds() if queue.oldest is not None else 0.0
        oldest.add(max(0.0, age), queue=queue.name)
        served.add(queue.workers, queue=queue.name)
        paused.add(int(queue.paused), queue=queue.name)
    return [jobs, oldest, served, paused, *_whole(standing)]


def _whole(standing: Standing) -> list[Family]:
    ended = Family(
        "pgjobq_jobs_kept", "gauge", "Ended jobs that are still kept; the number of succeeded is an estimate."
    )
    for state in ("succeeded", "failed", "cancelled"):
        ended.add(getattr(standing.stats, state), state=state)
    pace = Family("pgjobq_jobs_ended_last_minute", "gauge", "Jobs that ended within the last minute.")
    pace.add(standing.stats.finished_last_minute)
    failed = Family("pgjobq_jobs_failed_last_hour", "gauge", "Jobs that failed for good within the last hour.")
    failed.add(standing.stats.failed_last_hour)
    alive = Family("pgjobq_workers_alive", "gauge", "Live worker processes.")
    alive.add(sum(worker.alive for worker in standing.workers))
    tasks = Family("pgjobq_tasks_paused", "gauge", "Tasks that are paused.")
    tasks.add(sum(pause.kind == "task" for pause in standing.pauses))
    took = Family("pgjobq_exporter_query_seconds", "gauge", "How long the database took to answer this.")
    took.add(standing.seconds)
    return [ended, pace, failed, alive, tasks, took]


def _bounded(queues: list[QueueStats]) -> list[QueueStats]:
    if len(queues) <= MOST_QUEUES:
        return queues
    ranked = sorted(queues, key=lambda q: (-(q.ready + q.running + q.scheduled + q.blocked), q.name))
    told, rest = ranked[: MOST_QUEUES - 1], ranked[MOST_QUEUES - 1 :]
    sums = {state: sum(getattr(queue, state) for queue in rest) for state in STATES}
    oldest = min((queue.oldest for queue in rest if queue.oldest is not None), default=None)
    other = QueueStats(
        name="(other)",
        oldest=oldest,
        workers=min(queue.workers for queue in rest),
        paused=any(queue.paused for queue in rest),
        **sums,
    )
    return [*sorted(told, key=lambda queue: queue.name), other]
