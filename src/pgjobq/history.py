"""What happened, minute by minute: the doors of a Queue to what its workers count. `Queue` inherits them."""

from __future__ import annotations

from pgjobq.doors import Doors
from pgjobq.errors import InvalidOption
from pgjobq.statements import Statement
from pgjobq.statements import history as statements
from pgjobq.statements.history import BOUNDS, Minute, Totals, Trend

__all__ = ["BOUNDS", "History", "Minute", "Totals", "Trend"]

LONGEST = 3 * 24 * 60
"""Minutes that are kept one by one; the number stands in schema.sql, too."""
LONGEST_SPAN = 24 * 60


class History(Doors):
    """The half of `Queue` that remembers."""

    def history(
        self, minutes: int = 60, *, span: int = 1, queue: str | None = None, conn: object = None
    ) -> list[Minute]:
        """What happened in each of the last minutes, the oldest first; the last one is this minute, so far.

        Args:
            minutes: 1..4,320 (three days).
            span: minutes that are told as one, 1..1,440; `minutes` is a multiple of it. They begin at full hours where
                that fits: `history(1440, span=15)` has 96 of them, the last one so far.
            queue: of this queue only; its minutes are there a few seconds after they are over. Of all queues together,
                spans of a quarter of an hour or of several are kept as such: three days take no longer than an hour.
            conn: the connection whose transaction this joins; None: one of our own.
        """
        return self._run(self._history(minutes, span, queue), conn)

    async def ahistory(
        self, minutes: int = 60, *, span: int = 1, queue: str | None = None, conn: object = None
    ) -> list[Minute]:
        """The async twin of `history`."""
        return await self._arun(self._history(minutes, span, queue), conn)

    def _history(self, minutes: int, span: int, queue: str | None) -> Statement[list[Minute]]:
        if type(minutes) is not int or not 1 <= minutes <= LONGEST:
            raise InvalidOption(f"minutes={minutes!r}: wants a whole number from 1 to {LONGEST:,}")
        if type(span) is not int or not 1 <= span <= LONGEST_SPAN or minutes % span:
            raise InvalidOption(
                f"span={span!r}: wants a whole number from 1 to {LONGEST_SPAN:,} that divides minutes={minutes}"
            )
        return statements.history(self.schema, minutes, span, queue)

    def trends(self, minutes: int = 60, *, conn: object = None) -> list[Trend]:
        """How each queue went in the last minutes that are over (1..4,320); idle queues are left out."""
        return self._run(self._trends(minutes), conn)

    async def atrends(self, minutes: int = 60, *, conn: object = None) -> list[Trend]:
        """The async twin of `trends`."""
        return await self._arun(self._trends(minutes), conn)

    def _trends(self, minutes: int) -> Statement[list[Trend]]:
        if type(minutes) is not int or not 1 <= minutes <= LONGEST:
            raise InvalidOption(f"minutes={minutes!r}: wants a whole number from 1 to {LONGEST:,}")
        return statements.trends(self.schema, minutes)

    def totals(self, *, conn: object = None) -> list[Totals]:
        """What happened since the first minute that was counted, by queue: numbers that only grow."""
        return self._run(statements.totals(self.schema), conn)

    async def atotals(self, *, conn: object = None) -> list[Totals]:
        """The async twin of `totals`."""
        return await self._arun(statements.totals(self.schema), conn)
