"""Spans of time as callers give them: seconds or a timedelta, within bounds that every room can hold."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

__all__ = ["LONGEST", "to_seconds"]

LONGEST: Final = 100 * 365.25 * 86_400.0
"""Seconds in 100 years, the most that is taken anywhere: more is a mistake."""


def to_seconds(span: object) -> float | None:
    """The span in seconds; None when it is no span, negative, not finite, or over 100 years."""
    seconds = span.total_seconds() if isinstance(span, timedelta) else span
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    return float(seconds) if 0 <= seconds <= LONGEST else None
