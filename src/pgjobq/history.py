"""What happened, minute by minute: the doors of a Queue to what its workers count. `Queue` inherits them."""

from __future__ import annotations

from pgjobq.doors import Doors
from pgjobq.errors import InvalidOption
from pgjobq.statements import Statement
from pgjobq.statements import history as statements
from pgjobq.statements.history import BOUNDS, Minute, Totals

__all__ = ["BOUNDS", "History", "Minute", "Totals"]

LONGEST = 3 * 24 * 60
"""Minutes that are kept one by one; the number stands in schema.sql, too."""


class History(Doors):
    """The half of `Queue` that remembers."""

    def history(self, minutes: int = 60, *, queue: str | None = None, conn: object = None) -> list[Minute]:
        """What happened in each of the last minutes, the oldest first; the last one is this minute, so far.

        Args:
            minutes: 1..4,320 (three days).
            queue: of this queue only; its minutes are there a few seconds after they are over.
            conn: the connection whose transaction this joins; None: one of our own.
        """
        return self._run(self._history(minutes, queue), conn)

    async def ahistory(self, minutes: int = 60, *, queue: str | None = None, conn: object = None) -> list[Minute]:
        """The async twin of `history`."""
        return await self._arun(self._history(minutes, queue), conn)

    def _history(self, minutes: int, queue: str | None) -> Statement[list[Minute]]:
        if type(minutes) is not int or not 1 <= minutes <= LONGEST:
            raise InvalidOption(f"minutes={minutes!r}: wants a whole number from 1 to {LONGEST:,}")
        return statements.history(self.schema, minutes, queue)

    def totals(self, *, conn: object = None) -> list[Totals]:
        """What happened since the first minute that was counted, by queue: numbers that only grow."""
        return self._run(statements.totals(self.schema), conn)

    async def atotals(self, *, conn: object = None) -> list[Totals]:
        """The async twin of `totals`."""
        return await self._arun(statements.totals(self.schema), conn)
