"""How often jobs behind a gate may start: rates, and quotas of a period."""

from __future__ import annotations

import re
import zoneinfo
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from pgjobq.durations import to_seconds
from pgjobq.errors import InvalidOption
from pgjobq.wording import did_you_mean, quote

__all__ = ["Quota", "Rate"]

MOST: Final = 999_999_999
MOST_BURST: Final = 999_999
FASTEST: Final = 1_000_000
"""Starts in a second."""
LONGEST_PERIOD: Final = 366 * 86_400
CALENDAR: Final = ("day", "week", "month")
_UNITS: Final = {
    name: seconds
    for names, seconds in (
        (("s", "sec", "second", "seconds"), 1),
        (("min", "minute", "minutes"), 60),
        (("h", "hour", "hours"), 3600),
        (("d", "day", "days"), 86_400),
    )
    for name in names
}
_TEXT: Final = re.compile(r"\s*(\d{1,9})\s*/\s*(\d{0,8})\s*([a-z]+)\s*")


@dataclass(frozen=True, slots=True)
class Rate:
    """So many starts in a time, evenly: a bucket of tokens. `Rate(10, per=1.0, burst=20)`, or as a text: `"10/s"`.

    In any time, however long or short, no more jobs start than `burst` and what comes in that time at the rate.

    Args:
        limit: how many tokens come in `per`, from 1 on; a million in a second is the most.
        per: in how many seconds (or a timedelta), from 0.001 s to 366 days.
        burst: how many tokens there can be, so how many jobs may start at once after a quiet time, 1..999,999; None:
            as many as come in a tenth of a second, at least one.

    Raises:
        InvalidOption: a value is out of its range.
    """

    limit: int
    per: float | timedelta = 1.0
    burst: int | None = None

    def __post_init__(self) -> None:
        seconds = to_seconds(self.per)
        if not _is_count(self.limit, MOST):
            raise InvalidOption(f"Rate(limit={quote(self.limit)}): wants a whole number from 1 on.")
        if seconds is None or not 0.001 <= seconds <= LONGEST_PERIOD:
            raise InvalidOption(f"Rate(per={quote(self.per)}): wants a time from 0.001 s to 366 days.")
        if self.limit > seconds * FASTEST:
            raise InvalidOption(f"Rate({self.limit}, per={seconds:g}): a million in a second is the most.")
        if self.burst is not None and not _is_count(self.burst, MOST_BURST):
            raise InvalidOption(f"Rate(burst={quote(self.burst)}): wants a whole number from 1 to {MOST_BURST:,}.")

    @classmethod
    def of(cls, rate: object) -> Rate:
        """The rate itself, or what a text such as "10/s", "100/min" or "5/2h" means."""
        if isinstance(rate, Rate):
            return rate
        found = _TEXT.fullmatch(rate) if isinstance(rate, str) else None
        if found is None or (unit := _UNITS.get(found[3])) is None:
            raise InvalidOption(f"rate={quote(rate)}: wants a text such as '10/s' or '100/min', or Rate(10, per=1.0).")
        return cls(int(found[1]), per=float(int(found[2] or 1) * unit))

    @property
    def entry(self) -> dict[str, Any]:
        """As SQL has it."""
        entry: dict[str, Any] = {"limit": self.limit, "per": to_seconds(self.per)}
        return entry if self.burst is None else entry | {"burst": self.burst}


@dataclass(frozen=True, slots=True)
class Quota:
    """So many starts in each period: `Quota(1000, per="day", tz="Europe/Paris")`, or as a text: `"1000/day"`.

    Unlike a rate it begins anew at once, when a period begins; what waits when it is spent starts then.

    Args:
        limit: how many jobs may start in a period, from 1 on.
        per: "day", "week" (from Monday on) or "month" of the calendar; or a number of seconds (or a timedelta), whole
            and from 1 s to 366 days: periods that follow each other without a gap, counted from 1970 on (UTC).
        tz: the time zone in which days, weeks and months begin; None: UTC.

    Raises:
        InvalidOption: a value is out of its range.
    """

    limit: int
    per: str | float | timedelta = "day"
    tz: str | None = None

    def __post_init__(self) -> None:
        if not _is_count(self.limit, MOST):
            raise InvalidOption(f"Quota(limit={quote(self.limit)}): wants a whole number from 1 on.")
        if self.per in CALENDAR:
            if self.tz is not None:
                _check_zone(self.tz)
            return
        seconds = to_seconds(self.per)
        if seconds is None or not 1 <= seconds <= LONGEST_PERIOD or seconds != int(seconds):
            raise InvalidOption(
                f"Quota(per={quote(self.per)}): wants 'day', 'week', 'month', or whole seconds from 1 s to 366 days."
            )
        if self.tz is not None:
            raise InvalidOption(f"Quota(tz={quote(self.tz)}): only a day, a week or a month begins in a time zone.")

    @classmethod
    def of(cls, quota: object) -> Quota:
        """The quota itself, or what a text such as "1000/day" or "50/h" means."""
        if isinstance(quota, Quota):
            return quota
        found = _TEXT.fullmatch(quota) if isinstance(quota, str) else None
        if found is not None and not found[2] and found[3] in CALENDAR:
            return cls(int(found[1]), per=found[3])
        if found is None or (unit := _UNITS.get(found[3])) is None:
            raise InvalidOption(
                f"quota={quote(quota)}: wants a text such as '1000/day' or '50/h', or Quota(1000, per='day')."
            )
        return cls(int(found[1]), per=float(int(found[2] or 1) * unit))

    @property
    def entry(self) -> dict[str, Any]:
        """As SQL has it."""
        per = self.per if isinstance(self.per, str) else int(to_seconds(self.per) or 0)
        entry: dict[str, Any] = {"limit": self.limit, "per": per}
        return entry if self.tz is None else entry | {"tz": self.tz}


def _is_count(value: object, most: int) -> bool:
    return type(value) is int and 1 <= value <= most


def _check_zone(tz: object) -> None:
    try:
        zoneinfo.ZoneInfo(tz)  # type: ignore[arg-type]
    except (zoneinfo.ZoneInfoNotFoundError, TypeError, ValueError, OSError):
        known = zoneinfo.available_timezones()
        hint = did_you_mean(str(tz), known) if known else " This machine has no time zones: install the package tzdata."
        raise InvalidOption(f"Quota(tz={quote(tz)}): there is no such time zone.{hint}") from None
