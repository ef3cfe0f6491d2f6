"""A plain handler that starts threads all the time, as one does whose client library keeps a pool."""

from __future__ import annotations

import threading

from pgjobq import Queue

queue = Queue()


@queue.task(timeout=0.2)
def spawn() -> None:
    while True:
        threading.Thread(target=int).start()
