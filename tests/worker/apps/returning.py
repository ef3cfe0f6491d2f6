"""Handlers that return something, in all three places, for worker processes that are killed."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from apps.trace import mark
from pgjobq import Queue, Retry, current_job

queue = Queue()


@queue.task(retry=Retry(wait=0.0))
async def on_loop(n: int, seconds: float = 0.0) -> dict[str, Any]:
    mark("start")
    await asyncio.sleep(seconds)
    return _result(n)


@queue.task(retry=Retry(wait=0.0))
def in_thread(n: int, seconds: float = 0.0) -> dict[str, Any]:
    mark("start")
    time.sleep(seconds)
    return _result(n)


@queue.task(retry=Retry(wait=0.0), isolation="process")
def in_cell(n: int, seconds: float = 0.0) -> dict[str, Any]:
    mark("start")
    time.sleep(seconds)
    return _result(n)


def _result(n: int) -> dict[str, Any]:
    return {"n": n, "attempt": current_job().attempt}
