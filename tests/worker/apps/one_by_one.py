"""An app that the first process of a worker imports at once, and the others when the test opens the gate."""

from __future__ import annotations

import time
from pathlib import Path

from apps.basic import note
from apps.trace import GATE
from pgjobq import Queue

try:
    Path(f"{GATE}.first").touch(exist_ok=False)
except FileExistsError:
    Path(f"{GATE}.waits").touch()
    while not GATE.exists():
        time.sleep(0.01)

queue = Queue()
queue.task(note.function)
