"""What all events are."""

from __future__ import annotations

import re

import msgspec

__all__ = ["Event"]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all events."""

    @classmethod
    def name(cls) -> str:
        """The event's name in JSON logs: `job_succeeded` for JobSucceeded."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()
