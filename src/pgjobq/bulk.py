"""What is done to many jobs at once, by filter: retry, cancel, move, delete. `Queue` inherits these doors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Unpack

from pgjobq.doors import Doors, Saying
from pgjobq.errors import InvalidOption
from pgjobq.filters import Filters, conditions
from pgjobq.statements import operate

__all__ = ["CHANGEABLE", "Bulk"]

BATCH = 1_000
"""Jobs that one transaction of a change to many takes."""
Progress = Callable[[int], object]
"""Called with how many jobs are changed so far, after each batch."""
CHANGEABLE = {
    "retry": ("failed", "cancelled"),
    "cancel": ("blocked", "scheduled", "ready"),
    "cancel_running": ("blocked", "scheduled", "ready", "running"),
    "move": ("blocked", "scheduled", "ready"),
    "purge": ("succeeded", "failed", "cancelled"),
}
"""What can be done to many jobs, and in which states these are."""


class Bulk(Doors):
    """The half of `Queue` that changes many jobs, a thousand in a transaction. `by`, wherever it is taken, is written
    to the audit: who wants this; None: the name of the database's role."""

    def retry_all(
        self,
        *,
        by: str | None = None,
        progress: Progress | None = None,
        conn: object = None,
        **filters: Unpack[Filters],
    ) -> int:
        """Run all failed and cancelled jobs again that pass the filters; returns how many. `count` tells beforehand.

        Without `conn` in transactions of a thousand jobs each, each written to the audit; with it, all in the caller's.
        `progress`, here and below, is called after each thousand, with how many are changed by then.
        """
        return self._say(self._changing("retry", filters, by, progress=progress), conn)

    async def aretry_all(
        self,
        *,
        by: str | None = None,
        progress: Progress | None = None,
        conn: object = None,
        **filters: Unpack[Filters],
    ) -> int:
        """The async twin of `retry_all`."""
        return await self._asay(self._changing("retry", filters, by, progress=progress), conn)

    def cancel_all(
        self,
        *,
        running: bool = False,
        reason: str | None = None,
        by: str | None = None,
        progress: Progress | None = None,
        conn: object = None,
        **filters: Unpack[Filters],
    ) -> int:
        """Cancel all waiting jobs that pass the filters; returns how many.

        `running=True`: also those that run, as `cancel_running` does each, for this reason: they are asked to end.
        """
        what = "cancel_running" if running else "cancel"
        return self._say(self._changing(what, filters, by, None, progress, reason), conn)

    async def acancel_all(
        self,
        *,
        running: bool = False,
        reason: str | None = None,
        by: str | None = None,
        progress: Progress | None = None,
        conn: object = None,
        **filters: Unpack[Filters],
    ) -> int:
        """The async twin of `cancel_all`."""
        what = "cancel_running" if running else "cancel"
        return await self._asay(self._changing(what, filters, by, None, progress, reason), conn)

    def move_all(
        self,
        to: str,
        *,
        by: str | None = None,
        progress: Progress | None = None,
        conn: object = None,
        **filters: Unpack[Filters],
    ) -> int:
        """Move all waiting jobs that pass the filters to the queue `to`; returns how many. Sealed payloads stay: they
        open in their own queue only."""
        return self._say(self._changing("move", filters, by, to, progress), conn)

    async def amove_all(
        self,
        to: str,
        *,
        by: str | None = None,
        progress: Progress | None = None,
        conn: object = None,
        **filters: Unpack[Filters],
    ) -> int:
        """The async twin of `move_all`."""
        return await self._asay(self._changing("move", filters, by, to, progress), conn)

    def purge(
        self,
        *,
        by: str | None = None,
        progress: Progress | None = None,
        conn: object = None,
        **filters: Unpack[Filters],
    ) -> int:
        """Delete all ended jobs that pass the filters, with their errors; returns how many."""
        return self._say(self._changing("purge", filters, by, progress=progress), conn)

    async def apurge(
        self,
        *,
        by: str | None = None,
        progress: Progress | None = None,
        conn: object = None,
        **filters: Unpack[Filters],
    ) -> int:
        """The async twin of `purge`."""
        return await self._asay(self._changing("purge", filters, by, progress=progress), conn)

    def _changing(
        self,
        what: str,
        filters: Filters,
        by: str | None,
        target: str | None = None,
        progress: Progress | None = None,
        reason: str | None = None,
    ) -> Saying[int]:
        changed, about = 0, {} if reason is None else {"reason": reason}
        deepest = (yield operate.deepest(self.schema)) if what == "retry" else 0
        for wanted, asked in _rounds(what, filters, deepest):
            after = 0
            while jobs := (yield operate.ids(self.schema, wanted | {"after": str(after)}, BATCH)):
                changed += yield operate.act(self.schema, what, jobs, asked | about, by, target)
                after = jobs[-1]
                if progress is not None:
                    progress(changed)
        return changed


def _rounds(what: str, filters: Filters, deepest: int) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """What to look for, and what the audit says of it, one round after the other. Each looks only at jobs that `what`
    can be done to.

    What is retried comes after what it depends on. Among jobs that is the order of their ids, failed and cancelled ones
    in one row; but what waits for a whole workflow, and whatever comes after that, may have smaller ids than its jobs.
    So each round goes through one more whole, up to `deepest`, and the last one takes what is left.
    """
    asked = conditions(filters)
    if not asked:
        raise InvalidOption(f"{what} needs a filter: state='failed' is one that means all of a kind")
    states = [state for state in CHANGEABLE[what] if asked.get("state", state) == state]
    if what == "retry" and states:
        wanted = asked | {"state": states[0] if len(states) == 1 else operate.ENDED_BADLY}
        for wholes in range(deepest):
            yield wanted | {"wholes": str(wholes)}, asked
        yield wanted, asked
        return
    for state in states:
        yield asked | {"state": state}, asked | {"state": state}
