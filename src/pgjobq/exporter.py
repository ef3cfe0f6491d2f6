"""What stands in a queue, for Prometheus: `pgjobq metrics`, and the dashboard's `/metrics`."""

from __future__ import annotations

import time

from pgjobq import run
from pgjobq.metrics import Standing, expose, gauges
from pgjobq.queue import Queue
from pgjobq.statements import operate

__all__ = ["aexport", "export", "standing"]


def standing(queue: Queue) -> Standing:
    """Depth and age by queue, workers, failed jobs: read now, on one connection."""
    began = time.perf_counter()
    with queue.pools.connection() as conn:
        found = queue.queues(conn=conn), queue.workers(conn=conn), queue.stats(conn=conn), queue.paused(conn=conn)
        now = run.execute(conn, operate.clock(queue.schema))
    return Standing(*found, now, time.perf_counter() - began)


async def astanding(queue: Queue) -> Standing:
    """The async twin of `standing`."""
    began = time.perf_counter()
    async with queue.pools.atransaction() as conn:
        queues, workers = await queue.aqueues(conn=conn), await queue.aworkers(conn=conn)
        stats, pauses = await queue.astats(conn=conn), await queue.apaused(conn=conn)
        now = await run.aexecute(conn, operate.clock(queue.schema))
    return Standing(queues, workers, stats, pauses, now, time.perf_counter() - began)


def export(queue: Queue) -> str:
    """The same as the text that Prometheus reads."""
    return expose(gauges(standing(queue)))


async def aexport(queue: Queue) -> str:
    """The async twin of `export`."""
    return expose(gauges(await astanding(queue)))
