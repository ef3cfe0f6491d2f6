"""How far jobs have come: reports are gathered and written a few times a second, in a thread of their own.

So a report costs its handler no round trip, however often it says something, and blocks no event loop. The last report
of a job is the one that counts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from pgjobq.statements import Statement
from pgjobq.statements.steps import Report, report_progress

__all__ = ["Reporter", "Reporting"]

WRITES_EVERY = 0.25
"""Seconds between two statements of a process; the first report after a silence is written at once."""
AGAIN_IN = 1.0
"""Seconds until the next try, when the database is away."""
IDLE = 5.0
"""Seconds of silence after which the thread ends."""


class Reporting(Protocol):
    """A running job: it is told when it is not listened to any more."""

    cancelled: bool
    is_lost: bool


class Reporter:
    """Writes the reports of one process.

    Args:
        execute: runs a statement on a connection of its own.
        schema: gives the schema's name.
    """

    def __init__(self, execute: Callable[[Statement[Any]], Any], schema: Callable[[], str]) -> None:
        self._execute, self._schema = execute, schema
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._waiting: dict[int, tuple[Reporting, Report]] = {}
        self._stir = threading.Event()
        self._thread: threading.Thread | None = None

    def report(self, job: Reporting, report: Report) -> None:
        """This is how far it has come; written soon, unless it says something else before."""
        with self._lock:
            self._waiting[report.job] = job, report
            if self._thread is None or not self._thread.is_alive():  # also in the child of a fork
                self._thread = threading.Thread(target=self._run, name="pgjobq-progress", daemon=True)
                self._thread.start()
        self._stir.set()

    def flush(self) -> None:
        """Write what waits, now; raises what the database raises, and keeps what it could not write."""
        with self._writing:
            with self._lock:
                taken, self._waiting = self._waiting, {}
            if not taken:
                return
            try:
                held = self._execute(report_progress(self._schema(), [report for _, report in taken.values()]))
            except BaseException:
                with self._lock:
                    self._waiting = taken | self._waiting
                raise
            for number, (job, _) in taken.items():
                if number not in held:
                    job.cancelled = job.is_lost = True

    @property
    def is_waiting(self) -> bool:
        """Whether something is to be written."""
        return bool(self._waiting)

    def _run(self) -> None:
        while True:
            if not self._stir.wait(IDLE):
                with self._lock:
                    if not self._waiting:
                        self._thread = None
                        return
            self._stir.clear()
            try:
                self.flush()
                time.sleep(WRITES_EVERY)
            except Exception:  # the engine says that the database is away
                time.sleep(AGAIN_IN)
                self._stir.set()
