"""What becomes of a job after an attempt.

decision     the outcomes, and the pure function that decides among them
failure      an exception as text that can be stored
"""

from __future__ import annotations

from pgjobq.outcome.decision import (
    Awaiting,
    Discard,
    Discarded,
    Failed,
    Outcome,
    Parked,
    Retried,
    Returned,
    Snooze,
    Snoozed,
    Succeeded,
    Suspension,
    decide,
    json_text,
    result_text,
)
from pgjobq.outcome.failure import Failure, describe, storable

__all__ = [
    "Awaiting",
    "Discard",
    "Discarded",
    "Failed",
    "Failure",
    "Outcome",
    "Parked",
    "Retried",
    "Returned",
    "Snooze",
    "Snoozed",
    "Succeeded",
    "Suspension",
    "decide",
    "describe",
    "json_text",
    "result_text",
    "storable",
]
