"""What may be shown of a job to tools outside, whose pages other people read."""

from __future__ import annotations

from pgjobq.codec import Veil
from pgjobq.current import CurrentJob
from pgjobq.outcome import Discard, Failure, Snooze, describe
from pgjobq.queue import Queue

__all__ = ["is_isolated", "is_order", "told", "veil_of"]


def veil_of(queue: Queue, job: CurrentJob) -> Veil | None:
    """What takes a job's secret arguments out of a text; None when it has none."""
    task = queue.registry.find(job.task)
    if task is None or not task.codec.hides_any:
        return None
    return task.codec.veil(task.read(job._held.args, job.queue))


def told(queue: Queue, job: CurrentJob, error: BaseException) -> Failure:
    """An error as texts without secrets."""
    return describe(error, veil_of(queue, job))


def is_isolated(queue: Queue, job: CurrentJob) -> bool:
    """Whether it runs in a process that may be gone a moment later."""
    task = queue.registry.find(job.task)
    return task is not None and task.isolation is not None


def is_order(error: BaseException) -> bool:
    """Whether a handler raised this to say what is to become of its job."""
    return isinstance(error, Snooze | Discard)
