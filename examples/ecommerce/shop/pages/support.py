"""Orders in trouble, for the people who help."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from pgjobq import JobState

from ..events import order_of
from ..orders import OrderHead, list_heads
from .forms import show
from .orders import note_of
from .progress import Progress

_TROUBLE = (JobState.FAILED, JobState.CANCELLED, JobState.BLOCKED, JobState.SCHEDULED)


@dataclass(frozen=True, slots=True)
class Trouble:
    """An order and those of its jobs that did not go well."""

    order: OrderHead
    steps: list[Progress]

    @property
    def stuck(self) -> bool:
        return any(step.stuck for step in self.steps)


async def show_trouble(request: Request) -> Response:
    """Orders with a job that gave up come first, then those that are still being tried again."""
    queue = request.app.state.queue
    steps: dict[int, list[Progress]] = defaultdict(list)
    async with request.app.state.pool.connection() as conn:
        for state in _TROUBLE:
            for job in await queue.ajobs(state=state, limit=200, conn=conn):
                number = order_of(job.ref)
                if number is not None and (state is not JobState.SCHEDULED or job.attempt > 0):
                    steps[number].append(Progress.of(job, await queue.aerrors(job.id, conn=conn)))
        heads = await list_heads(conn, list(steps))
    found = [Trouble(heads[number], jobs) for number, jobs in steps.items() if number in heads]
    found.sort(key=lambda trouble: (not trouble.stuck, -trouble.order.id))
    return show("support.html", troubles=found, note=note_of(request))
