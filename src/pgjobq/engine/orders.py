"""What operators want of a worker while it works: tasks that are paused, jobs that are to be cancelled."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from uuid import UUID

from pgjobq.engine.attempt import Attempt, prepare
from pgjobq.engine.cursor import Lane
from pgjobq.engine.exchange import Exchange, Listed
from pgjobq.engine.lease import Lease
from pgjobq.outcome import Discarded, Outcome, Parked, Succeeded
from pgjobq.task import Registry

__all__ = ["Orders", "cancelled"]


class Orders:
    """Knows what is paused, as of the last look at the lanes, and has running jobs cancelled.

    Args:
        registry, schema: of the queue.
        interrupt: makes those handlers end for which the function says so.
    """

    def __init__(self, registry: Registry, schema: str, interrupt: Callable[[Callable[[Attempt], bool]], None]) -> None:
        self._registry, self._schema, self._interrupt = registry, schema, interrupt
        self._paused: set[str] = set()

    def see(self, listed: Listed) -> list[Lane]:
        """Take note of what is paused; gives the lanes."""
        self._paused = listed.paused_tasks
        return listed.lanes

    def prepare(self, lease: Lease, worker: UUID) -> Attempt | Outcome:
        """An attempt at this job, or what becomes of it without one."""
        if self._paused:
            task = self._registry.find(lease.task)
            for name in (
                lease.task,
                lease.task if task is None else task.name,
            ):  # paused by its old name or its new one
                if name in self._paused:
                    return Parked(f"paused:{name}")
        return prepare(lease, self._registry, self._schema, worker)

    async def cancel(self, exchange: Exchange, running: Iterable[Attempt]) -> None:
        """Have the jobs cancelled that somebody wants cancelled, each once."""
        attempts = list(running)
        if not attempts:
            return
        reasons = await exchange.cancel_requests()
        wanted = {attempt for attempt in attempts if attempt.lease.job in reasons and not attempt.job.cancelled}
        for attempt in wanted:
            attempt.halted = reasons[attempt.lease.job]
            if attempt.task.chunk is not None:  # it runs together with others: it can only be told
                attempt.job.cancelled = True
        if wanted:
            self._interrupt(wanted.__contains__)


def cancelled(attempt: Attempt, outcome: Outcome) -> Outcome:
    """The outcome of a handler that was told to end: what it has done all the same counts."""
    if attempt.halted is None or isinstance(outcome, Succeeded):
        return outcome
    return Discarded(attempt.halted)
