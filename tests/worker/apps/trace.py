"""Writes down what handlers do, outside the database: one write per event, which a kill cannot tear."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from pgjobq import current_job

_fd = os.open(os.environ["STAGE_TRACE"], os.O_WRONLY | os.O_APPEND)
GATE = Path(os.environ["STAGE_GATE"])


def mark(what: str, **more: Any) -> None:
    """One line, with the running job and the time, which all processes of the machine share."""
    job = current_job()
    line = {
        "what": what,
        "job": job.id,
        "attempt": job.attempt,
        "pid": os.getpid(),
        "thread": threading.get_ident(),
        "at": time.monotonic(),
        "wall": time.time(),
        **more,
    }
    os.write(_fd, json.dumps(line).encode() + b"\n")


async def pass_gate() -> None:
    """Wait until the test opens the gate."""
    while not GATE.exists():
        await asyncio.sleep(0.01)


def pass_gate_plainly() -> None:
    """The same in a thread."""
    while not GATE.exists():
        time.sleep(0.01)
