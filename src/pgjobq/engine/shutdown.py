"""The end of a worker: no more jobs are taken, those that run have a grace, and what is left is ended by force."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from pgjobq.engine.crew import Process
from pgjobq.events import ShutdownBegan, ShutdownHurried
from pgjobq.logs import Journal
from pgjobq.settings import WorkerSettings

__all__ = ["SHUT_DOWN", "Shutdown"]

SHUT_DOWN = "its worker was shut down while it ran, and its handler did not end when told to"
ANSWER_WITHIN = 1.0
"""Seconds for which the beginning is not told while a process that has not answered may still take a job."""
AFTER_HURRY = 8.0
"""Seconds after which a process that was told to hurry is killed."""


class Shutdown:
    """Begins with a signal or for a reason of the supervisor's.

    Args:
        settings: how long the grace is, and how long the worker may work.
        journal: hears of it.
        processes: those that are there.
    """

    def __init__(
        self, settings: WorkerSettings, journal: Journal, processes: Callable[[], Collection[Process]]
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._processes = processes
        self._born = time.monotonic()
        self._since: float | None = None
        self._hurried_at: float | None = None
        self._untold: str | None = None

    @property
    def under_way(self) -> bool:
        """Whether it has begun: nothing is started any more."""
        return self._since is not None

    def obey(self, signal: str) -> None:
        """The first signal begins it, the second one hurries; further ones change nothing."""
        if self._since is None:
            self._untold = signal
            self.begin(signal)
        elif self._hurried_at is None:
            self._hurry(f"second {signal}")

    def begin(self, reason: str) -> None:
        """Every process is to take no more jobs, and to end when it has none."""
        self._since = self._since or time.monotonic()
        for process in self._processes():
            process.link.say("stop", reason)

    def look(self) -> None:
        """Do what it is time for."""
        now = time.monotonic()
        limit = self._settings.max_seconds
        if limit is not None and self._since is None and now - self._born >= limit:
            self.begin("max_seconds")
        if self._since is None:
            return
        if now - self._since >= ANSWER_WITHIN or all(one.claims_no_more or one.ended for one in self._processes()):
            self._tell()
        if self._hurried_at is None:
            if now - self._since >= self._settings.grace:
                self._hurry("the grace is over")
        elif now - self._hurried_at >= AFTER_HURRY:
            for process in self._processes():
                process.killed_for = process.killed_for or SHUT_DOWN
                process.popen.kill()

    def _tell(self) -> None:
        """Once: that no more jobs are taken, as it was done for a signal."""
        if self._untold is not None:
            told = ShutdownBegan(reason=self._untold, running=self._running, grace=self._settings.grace)
            self._untold = None
            self._journal.emit(told)

    def _hurry(self, reason: str) -> None:
        self._tell()
        self._hurried_at = time.monotonic()
        self._journal.emit(ShutdownHurried(reason=reason, running=self._running))
        for process in self._processes():
            process.link.say("hurry", reason)

    @property
    def _running(self) -> int:
        return sum(len(process.board.entries()) for process in self._processes())
