"""The handlers of `basic`, and a note of each look for jobs: which processes a job wakes.

There are no short naps here: what nobody is called for would not be found before the poll interval is over.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import Any

from apps.basic import queue
from apps.trace import mark
from pgjobq.engine import intake
from pgjobq.engine.exchange import Exchange

__all__ = ["queue"]

_fd = os.open(os.environ["STAGE_TRACE"], os.O_WRONLY | os.O_APPEND)
_turn = Exchange.turn
intake.FIRST_NAP = 3_600.0


async def _noted(self: Exchange, batch: Any, look: Any, limit: int, **options: Any) -> Any:
    if look is not None:
        line = {"what": "look", "job": None, "pid": os.getpid(), "at": time.monotonic()}
        os.write(_fd, json.dumps(line).encode() + b"\n")
    return await _turn(self, batch, look, limit, **options)


Exchange.turn = _noted  # type: ignore[method-assign]


@queue.task
async def block_later() -> None:
    """Holds its event loop up, once its process has gone to sleep beside it."""
    mark("start")
    await asyncio.sleep(0.5)
    mark("blocks")
    time.sleep(120)
