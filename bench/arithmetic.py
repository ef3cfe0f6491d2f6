"""Percentiles, medians and ratios. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["median", "percentile", "ratio"]


def percentile(samples: Sequence[float], percent: float) -> float:
    """The smallest sample that at least `percent` (0..100) of the samples do not exceed (nearest rank).

    Raises ValueError when there is no sample or the percentage is out of range.
    """
    if not samples:
        raise ValueError("a percentile of no samples: measure something first")
    if not 0 <= percent <= 100:
        raise ValueError(f"percentile {percent!r}: wants 0 to 100")
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def median(samples: Sequence[float]) -> float:
    """The middle sample, or the mean of the two in the middle."""
    if not samples:
        raise ValueError("a median of no samples: measure something first")
    ordered = sorted(samples)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def ratio(figure: float | None, floor: float | None) -> float | None:
    """`figure` as a multiple of `floor`; None when either is missing or the floor is nothing."""
    return None if figure is None or not floor else figure / floor
