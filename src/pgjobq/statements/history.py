"""What happened, minute by minute, as Statements, and the values they give."""

from __future__ import annotations

from datetime import datetime

import msgspec

from pgjobq.statements.statement import Statement
from pgjobq.statements.text import statement_text

__all__ = ["BOUNDS", "Minute", "Totals", "Trend", "history", "totals", "trends"]

BOUNDS = (
    0.001,
    0.002,
    0.005,
    0.01,
    0.02,
    0.05,
    0.1,
    0.2,
    0.5,
    1.0,
    2.0,
    5.0,
    10.0,
    20.0,
    50.0,
    100.0,
    200.0,
    500.0,
    1000.0,
)
"""Seconds: `run[0]` counts the attempts that took less than the first, the last place those from the last on."""

QUARTER = 15
"""Minutes that are kept together, too."""


class Minute(msgspec.Struct, frozen=True):
    """What happened in one minute, or in a span of several."""

    minute: datetime
    """Its beginning."""
    started: int
    """Attempts that began."""
    succeeded: int
    failed: int
    """Jobs that were given up."""
    cancelled: int
    errors: int
    """Attempts that failed, those of jobs that were given up included."""
    run_seconds: float
    """Of all attempts that ended, together."""
    run: tuple[int, ...]
    """How many of them took how long, by BOUNDS; empty while the minute is not counted."""
    ready: int | None
    """Jobs that waited for a worker at its end (of several minutes: the most of them); None while it is not counted."""
    oldest: float | None
    """Seconds for which the first of them had waited."""

    @property
    def retried(self) -> int:
        """Attempts that failed and were followed by another one, or will be."""
        return max(0, self.errors - self.failed)

    @property
    def median(self) -> float | None:
        """The seconds that half of the attempts did not exceed, roughly."""
        return self.quantile(0.5)

    @property
    def slow(self) -> float | None:
        """The seconds that one attempt in twenty exceeded, roughly."""
        return self.quantile(0.95)

    def quantile(self, share: float) -> float | None:
        """The seconds that this share (0..1) of the attempts did not exceed, read off between two BOUNDS.

        None when no attempt ended, or it is not counted yet.
        """
        wanted, below = share * sum(self.run), 0
        for place, count in enumerate(self.run):
            if count and below + count >= wanted:
                low = BOUNDS[place - 1] if place else 0.0
                high = BOUNDS[min(place, len(BOUNDS) - 1)]
                return low + (high - low) * max(0.0, wanted - below) / count
            below += count
        return None


class Trend(msgspec.Struct, frozen=True):
    """How one queue went, minute by minute, the oldest first; minutes that were not counted are 0."""

    queue: str
    ended: tuple[int, ...]
    """Jobs that ended, whatever way."""
    failed: tuple[int, ...]
    """Jobs that were given up."""
    ready: tuple[int, ...]
    """Jobs that waited for a worker at its end."""

    @property
    def pace(self) -> float:
        """Jobs that ended in a minute, of the last ten of them (of all, where there are fewer)."""
        latest = self.ended[-10:]
        return sum(latest) / len(latest)


class Totals(msgspec.Struct, frozen=True):
    """What happened in one queue since its first minute was counted; every number but `pace` only grows."""

    queue: str
    started: int
    succeeded: int
    failed: int
    cancelled: int
    errors: int
    run_seconds: float
    pace: float
    """Jobs that ended in a minute, of the last ten minutes."""


def history(schema: str, minutes: int, span: int, queue: str | None) -> Statement[list[Minute]]:
    """The last minutes in spans of so many, the oldest first."""
    decode = msgspec.json.Decoder(Minute).decode
    params = (str(minutes), queue, str(span), queue is None and span % QUARTER == 0)
    return Statement("history", statement_text("history", schema), params, lambda rows: [decode(t) for (t,) in rows])


def totals(schema: str) -> Statement[list[Totals]]:
    """All that was ever counted, by queue."""
    decode = msgspec.json.Decoder(Totals).decode
    text = statement_text("history_totals", schema)
    return Statement("history_totals", text, (), lambda rows: [decode(t) for (t,) in rows])


def trends(schema: str, minutes: int) -> Statement[list[Trend]]:
    """Each queue in the last minutes that are over."""
    decode = msgspec.json.Decoder(Trend).decode
    text = statement_text("history_trends", schema)
    return Statement("history_trends", text, (str(minutes),), lambda rows: [decode(t) for (t,) in rows])
