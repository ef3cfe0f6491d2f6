"""Handlers whose own tasks end the event loop they run on."""

from __future__ import annotations

import asyncio

from apps.trace import mark
from pgjobq import Queue

queue = Queue()


@queue.task
async def note() -> None:
    mark("start")


async def fall(error: BaseException) -> None:
    raise error


@queue.task
async def raise_exit() -> None:
    mark("start")
    await asyncio.create_task(fall(SystemExit(4)))


@queue.task
async def raise_interrupt() -> None:
    mark("start")
    await asyncio.create_task(fall(KeyboardInterrupt()))
