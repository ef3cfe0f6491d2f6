"""How quickly jobs end here when no place is free: what a worker may claim ahead is measured by it.

Counted by the time for which places are taken, not by the clock. By the clock a slow database makes a worker look slow:
it claims less, each round trip brings less, and the worker gets slower still (measured: 12,000 jobs a second where
80,000 went, for as long as the disk took 20 ms to flush). A place that is empty because the database has not answered
says nothing about the jobs.
"""

from __future__ import annotations

from math import exp

__all__ = ["Pace"]

MEMORY = 0.1
"""Seconds, with all places taken, after which what was seen counts for a third."""
DOUBT = 0.02
"""Seconds without an end, with all places taken, that are believed of jobs of which nothing is known yet: those that
end first may be the shortest."""


class Pace:
    """Pure; `now` is time.monotonic().

    Args:
        places: for running jobs, 1 and up.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._share = self._since = self._fresh = 0.0
        self.starves = True
        """Whether places are empty for want of jobs."""
        self.ended = 0
        """Jobs whose handler has ended since the last look; counted up by whoever sees them end."""
        self.forget()

    def forget(self) -> None:
        """What comes next may be of another kind."""
        self._seconds, self._jobs = DOUBT, 0.0
        self._fresh, self.ended = 0.0, 0

    def fill(self, now: float) -> None:
        """From now on a place that becomes free is taken at once: there are jobs at hand."""
        self._pass(now)
        self._share, self.starves = 1.0, False

    def starve(self, now: float, running: int) -> None:
        """From now on only so many places are taken, for want of jobs."""
        self._pass(now)
        self._share, self.starves = running / self._places, True

    def per_second(self, now: float) -> float:
        """Jobs a second that would end if every place were taken."""
        self._pass(now)
        if self._fresh:
            faded = exp(-self._fresh / MEMORY)
            counts = MEMORY * (1 - faded)
            self._seconds = self._seconds * faded + counts
            self._jobs = self._jobs * faded + self.ended / self._fresh * counts
            self._fresh, self.ended = 0.0, 0
        return self._jobs / self._seconds

    def _pass(self, now: float) -> None:
        self._fresh += (now - self._since) * self._share
        self._since = now
