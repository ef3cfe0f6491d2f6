"""An app that tells which process imports it, before anything runs."""

from __future__ import annotations

import os
from pathlib import Path

from pgjobq import Queue

with Path(os.environ["STAGE_TRACE"] + ".imports").open("a") as file:
    file.write(f"{os.getpid()}\n")

queue = Queue()


@queue.task
def note() -> None:
    """Nothing."""
