"""A task that runs every second, and one for schedules made at run time."""

from __future__ import annotations

from apps.trace import mark
from pgjobq import Queue, current_job

queue = Queue()


@queue.every(1, missed="all")
@queue.task
async def beat() -> None:
    tick = current_job().scheduled_for
    assert tick is not None
    mark("beat", tick=tick.timestamp())


@queue.task
async def note() -> None:
    mark("note")


@queue.task
async def other() -> None:
    tick = current_job().scheduled_for
    assert tick is not None
    mark("other", tick=tick.timestamp(), schedule=current_job().schedule)
