"""How far one look through many jobs goes: portion by portion, until enough is found or its time is up.

No index leads to every condition, so a search reads jobs and passes most of them by. A fixed number of them is too few
on a quick server and too many on a busy one, or where each has to be read from the disk: so the time is what is fixed.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from pgjobq.job import JobState
from pgjobq.statements.survey import FailureGroup, Failures, Filter

__all__ = ["LOOK_FOR", "MOST_SEARCHED", "Portions", "added", "passes_all"]

LOOK_FOR = 0.06
"""Seconds: a page is to be there within 0.2, and others work on the same machine."""
MOST_SEARCHED = 100_000
"""Jobs that one look goes through at the most, however quick it is."""
FIRST = 250
"""Jobs of the first portion: when each is read from a disk, twice, this takes some 50 ms."""
GROWTH = 4
"""A portion is at most so many times the one before: that has shown only so much of how quick it goes."""
LARGEST = 20_000
"""Jobs of one portion: it is one statement, and holds its snapshot that long."""
MOST_GROUPS = 200
"""Groups of failed jobs that are told."""


class Portions:
    """Sizes of portions, one after the other.

    Args:
        seconds: for how long the whole may take; None: to the end.
        most: jobs that are looked at altogether, where the time is limited.
        clock: seconds, from any beginning.
    """

    def __init__(self, seconds: float | None, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.size = min(FIRST, most)
        self._seconds, self._most, self._clock = seconds, most, clock
        self._began = clock()

    @property
    def left(self) -> float:
        """Seconds that are left for the portion that is next."""
        return 3600.0 if self._seconds is None else max(0.0, self._seconds - (self._clock() - self._began))

    def go_on(self, searched: int) -> bool:
        """Whether there is time for another portion, after so many jobs; its size is then `size`."""
        grown = min(self.size * GROWTH, LARGEST)
        if self._seconds is None:
            self.size = grown
            return True
        spent = self._clock() - self._began
        left = self._seconds - spent
        in_time = searched / spent * left if spent > 0 else self._most
        fits = min(grown, self._most - searched, int(in_time))
        if searched < self._most and fits >= min(FIRST, self._most - searched):
            self.size = fits
            return True
        return False


def passes_all(wanted: Filter) -> bool:
    """Whether each job that such a search looks at passes: what leads it is all that it asks for."""
    alone = [Filter(state=wanted.state), Filter(ref=wanted.ref), Filter(workflow=wanted.workflow)]
    if wanted.state is JobState.READY:
        alone.append(Filter(state=wanted.state, queue=wanted.queue))
    return wanted in alone


def added(newer: Failures, older: Failures) -> Failures:
    """The two as one."""
    groups = {(one.fingerprint, one.task, one.kind): one for one in newer.groups}
    for one in older.groups:
        key = (one.fingerprint, one.task, one.kind)
        known = groups.get(key)
        groups[key] = one if known is None else _together(known, one)
    largest = sorted(groups.values(), key=lambda one: (one.jobs, one.last_at), reverse=True)
    return Failures(largest[:MOST_GROUPS], older.after, newer.searched + older.searched)


def _together(newer: FailureGroup, older: FailureGroup) -> FailureGroup:
    first = min(newer.first_at, older.first_at)
    return msgspec.structs.replace(newer, jobs=newer.jobs + older.jobs, first_at=first)
