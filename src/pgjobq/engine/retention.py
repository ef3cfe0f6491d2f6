"""Deletes old jobs as fast as they finish, a stretch of their table at a time, so that no other chore waits for it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from pgjobq.events import HistoryPruned
from pgjobq.logs import Journal
from pgjobq.settings import WorkerSettings

__all__ = ["Retention"]

FOUND_AT_ONCE = 200_000
"""Old jobs that one search may look up: a quarter of a second."""
DELETED_AT_ONCE = 20_000
"""More than a stretch can hold."""
STRETCH = 64
"""Pages, about 6,000 rows of `finished`; the number stands in statements/upkeep.sql, too."""
LONGEST_TURN = 0.1
"""Seconds of deleting between two looks at the other chores."""
LOOK_EVERY = 60.0
SEARCHING_AT_MOST = 0.02
"""Share of the time that may be spent on searching: a search may have to read the whole table."""
DAY = 86_400.0


class Retention:
    """One pass after another over the finished jobs, each in many small turns.

    Args:
        say: executes a named statement with its parameters and gives the rows.
    """

    def __init__(self, say: Callable[..., list[tuple[Any, ...]]], settings: WorkerSettings, journal: Journal) -> None:
        self._say, self._journal = say, journal
        days = (settings.keep_succeeded, settings.keep_failed)
        self._keep = [None if kept is None else kept * DAY for kept in days]
        self._stretches: deque[int] = deque()
        self._next_pass = 0.0
        self._begun = self._searched = 0.0
        self._deleted = self._deleted_since_search = 0

    def work(self) -> bool:
        """Delete for a moment; True when there is more to delete."""
        if self._keep == [None, None]:
            return False
        now = time.monotonic()
        if not self._stretches:
            if now < self._next_pass:
                return False
            self._search()
        ends = now + LONGEST_TURN
        while self._stretches and time.monotonic() < ends:
            self._delete(self._stretches[0])
            self._stretches.popleft()
            if not self._stretches and self._deleted_since_search:
                self._search()  # it found as many as it may, perhaps
        if self._stretches:
            return True
        self._finish()
        return False

    def _search(self) -> None:
        begun = time.monotonic()
        if not self._begun:
            self._begun = begun
        self._next_pass = begun + LOOK_EVERY  # also when the search fails
        self._say("drop_keys", DELETED_AT_ONCE)
        self._say("drop_workflows", DELETED_AT_ONCE, min(kept for kept in self._keep if kept is not None))
        self._stretches.extend(number for (number,) in self._say("find_old", FOUND_AT_ONCE, *self._keep))
        self._deleted_since_search = 0
        self._searched += time.monotonic() - begun

    def _delete(self, stretch: int) -> None:
        pages = f"({stretch * STRETCH},0)", f"({(stretch + 1) * STRETCH},0)"
        count = self._say("retain", DELETED_AT_ONCE, *self._keep, *pages)[0][0]
        self._deleted += count
        self._deleted_since_search += count

    def _finish(self) -> None:
        now = time.monotonic()
        if self._deleted:
            self._journal.emit(HistoryPruned(jobs=self._deleted, seconds=now - self._begun))
        self._next_pass = now + max(LOOK_EVERY, self._searched / SEARCHING_AT_MOST)
        self._begun = self._searched = 0.0
        self._deleted = 0
