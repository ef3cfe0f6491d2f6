"""What all events are."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Event"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of all events."""

    @classmethod
    def name(cls) -> str:
        """The event's name in JSON logs: `job_succeeded` for JobSucceeded."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()
