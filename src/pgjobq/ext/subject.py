"""What may be shown of a job to tools outside, whose pages other people read."""

from __future__ import annotations

from functools import reduce

from pgjobq.codec import Veil
from pgjobq.current import CurrentJob
from pgjobq.middleware import jobs_of_call
from pgjobq.outcome import Discard, Failure, Snooze, Suspension, describe
from pgjobq.queue import Queue

__all__ = ["is_isolated", "is_order", "told", "veil_of"]


def veil_of(queue: Queue, job: CurrentJob) -> Veil | None:
    """What takes the secret arguments of a job, or of all that are in its call, out of a text; None when there are
    none."""
    task = queue.registry.find(job.task)
    if task is None or not task.codec.hides_any:
        return None
    found = [task.codec.veil(task.read(one._held.args, one.queue)) for one in jobs_of_call(job)]
    veils = [veil for veil in found if veil is not None]
    return (lambda text: reduce(lambda so_far, veil: veil(so_far), veils, text)) if veils else None


def told(queue: Queue, job: CurrentJob, error: BaseException) -> Failure:
    """An error as texts without secrets."""
    return describe(error, veil_of(queue, job))


def is_isolated(queue: Queue, job: CurrentJob) -> bool:
    """Whether it runs in a process that may be gone a moment later."""
    task = queue.registry.find(job.task)
    return task is not None and task.isolation is not None


def is_order(error: BaseException) -> bool:
    """Whether a handler raised this to say what is to become of its job."""
    return isinstance(error, Snooze | Discard | Suspension)
