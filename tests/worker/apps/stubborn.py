"""Handlers with a time-out that they do not heed, each in its own way."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import time

from apps.basic import hold, nap, note
from apps.trace import mark
from pgjobq import Queue, current_job

queue = Queue()
for harmless in (hold, nap, note):
    queue.task(harmless.function)


@queue.task(timeout=0.3)
def deaf_thread() -> None:
    """A plain handler that catches whatever it is sent. The second attempt is sane."""
    mark("start")
    while current_job().attempt == 1:
        with contextlib.suppress(BaseException):
            time.sleep(0.05)


@queue.task(timeout=0.3)
async def deaf_coroutine() -> None:
    """The same on the event loop, which it does not hold up."""
    mark("start")
    while current_job().attempt == 1:
        with contextlib.suppress(BaseException):
            await asyncio.sleep(0.05)


@queue.task(timeout=0.3)
async def block_loop() -> None:
    """Holds up the event loop, so that its time-out cannot be noticed there."""
    mark("start")
    try:
        time.sleep(60)
    except BaseException as error:
        mark("out", by=type(error).__name__)
        raise


@queue.task(timeout=0.3)
async def spin() -> None:
    """The same without a pause, in a task of its own."""

    async def busy() -> None:
        while True:
            pass

    mark("start")
    await asyncio.gather(busy())


@queue.task(timeout=0.3)
def hold_gil() -> None:
    """Nothing in this process can move."""
    mark("start")
    ctypes.PyDLL(None).sleep(60)
