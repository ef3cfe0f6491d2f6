"""An app that knows one task which apps.basic does not, and none of its own."""

from __future__ import annotations

from apps.trace import mark
from pgjobq import Queue

queue = Queue()


@queue.task
async def rare() -> None:
    mark("start")
