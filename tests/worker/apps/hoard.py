"""Handlers that keep memory."""

from __future__ import annotations

import time

from apps.basic import hold, nap, note
from apps.trace import mark
from pgjobq import Queue

queue = Queue()
for harmless in (hold, nap, note):
    queue.task(harmless.function)
kept: list[bytearray] = []


@queue.task
def leak(mib: int) -> None:
    """Ends, and leaves so much behind."""
    mark("start")
    kept.append(bytearray(b"x") * (mib * 2**20))


@queue.task
def devour() -> None:
    """Eats memory as long as it is let."""
    mark("start")
    while True:
        kept.append(bytearray(b"x") * (10 * 2**20))
        time.sleep(0.01)
