"""When a schedule fires: cron expressions and intervals as values, pure and without a clock of their own.

What the clocks of a time zone do twice a year is decided here, and cronsim reads the expressions and walks over wall
times that know nothing of zones:

- An expression whose minute and hour both name times (`30 2 * * *`) means a moment of the wall clock. Where the clocks
  jump over it, it comes at the first instant after the jump; where they show it twice, it comes the first time only.
- Any other (`*/15 * * * *`, `0 * * * *`) means what the wall clock shows: what the clocks jump over does not come, and
  what they show twice comes twice, so that the pace is kept.
- An interval knows no zone: its ticks are the multiples of its length since 1970-01-01 00:00 UTC.

The rule between the first two is Debian's (crontab(5), NOTES): whether the minute or the hour begins with a star.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from pgjobq.durations import to_seconds
from pgjobq.errors import ScheduleError
from pgjobq.wording import did_you_mean, quote

if TYPE_CHECKING:
    from cronsim import CronSim

__all__ = ["Timetable", "interval_text", "timetable"]

FIELDS: Final = ("second", "minute", "hour", "day-of-month", "month", "day-of-week")
NICKNAMES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
LONGEST_EXPRESSION: Final = 200
LONGEST_INTERVAL: Final = 366 * 86_400
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EVERY: Final = re.compile(r"@every ([1-9][0-9]*)s")
_SECOND: Final = timedelta(seconds=1)
_STRIDE: Final = timedelta(hours=12)
"""Between two looks for a change of the clocks; no zone has ever had two within a day."""


@dataclass(frozen=True, slots=True)
class Timetable:
    """When something is due; made by `timetable(…)`.

    Args:
        expression: five cron fields, six with seconds in front, a nickname such as `@daily`, or `@every 300s`.
        tz: the time zone whose wall clock a cron expression means, as in `Europe/Paris`.
    """

    expression: str
    tz: str

    def after(self, instant: datetime) -> datetime | None:
        """The first tick later than this instant, in UTC; None when there is none within 50 years."""
        if (seconds := _interval(self.expression)) is not None:
            return EPOCH + ((instant - EPOCH) // timedelta(seconds=seconds) + 1) * timedelta(seconds=seconds)
        zone, fields = zoneinfo.ZoneInfo(self.tz), _fields(self.expression)
        named = not fields[1].startswith("*") and not fields[2].startswith("*")
        return (_after_named if named else _after_shown)(" ".join(fields), zone, instant.astimezone(UTC))

    def ticks(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """The ticks later than `after`, up to and with `until`, in order."""
        tick = self.after(after)
        while tick is not None and tick <= until:
            yield tick
            tick = self.after(tick)

    def newest(self, after: datetime, until: datetime, most: int) -> list[datetime]:
        """The last `most` ticks of that span, oldest first; found without walking through a long span tick by tick."""
        reach = timedelta(seconds=most)
        while (start := until - reach) > after:
            found = list(self.ticks(start, until))
            if len(found) >= most:
                return found[-most:]
            reach *= 4
        return list(self.ticks(after, until))[-most:]

    def next_runs(self, n: int = 5, after: datetime | None = None) -> list[datetime]:
        """The next `n` ticks after an instant (None: now, by this machine's clock), in the schedule's own zone."""
        tick, zone = after or datetime.now(UTC), zoneinfo.ZoneInfo(self.tz)
        found: list[datetime] = []
        while len(found) < n and (later := self.after(tick)) is not None:
            tick = later
            found.append(tick.astimezone(zone))
        return found


@lru_cache(maxsize=1024)
def timetable(expression: object, tz: str = "UTC") -> Timetable:
    """A checked timetable.

    Raises:
        ScheduleError: the expression or the zone cannot be used (the sentence names the field), never comes true, or
            cronsim is not installed.
    """
    if not isinstance(expression, str) or len(expression) > LONGEST_EXPRESSION:
        raise ScheduleError(f"{quote(expression)} is no cron expression: wants a text such as '0 9 * * mon-fri'.")
    _check_zone(tz)
    if _interval(expression) is None:
        _check_expression(expression)
        made = Timetable(expression, tz)
        if made.after(datetime(2026, 1, 1, tzinfo=UTC)) is None:
            raise ScheduleError(f"{quote(expression)} never comes true within 50 years; look at its day and month.")
        return made
    return Timetable(expression, tz)


def interval_text(every: object) -> str:
    """The expression of an interval: `@every 300s`.

    Raises:
        ScheduleError: it is no whole number of seconds from 1 to 366 days.
    """
    seconds = to_seconds(every)
    if not seconds or seconds > LONGEST_INTERVAL or seconds != int(seconds):
        raise ScheduleError(
            f"every={quote(every)}: wants whole seconds or a timedelta, from 1 second to 366 days; "
            "for anything finer, let one job loop."
        )
    return f"@every {int(seconds)}s"


# ------------------------------------------------------------------------------------------------ checks


def _interval(expression: str) -> int | None:
    found = _EVERY.fullmatch(expression)
    return int(found[1]) if found and int(found[1]) <= LONGEST_INTERVAL else None


def _fields(expression: str) -> list[str]:
    """Six fields, seconds first."""
    fields = NICKNAMES.get(expression, expression).upper().split()
    return ["0", *fields] if len(fields) == 5 else fields


def _check_zone(tz: object) -> None:
    if not isinstance(tz, str):
        raise ScheduleError(f"tz={quote(tz)}: wants the name of a time zone, such as 'Europe/Paris'.")
    try:
        zoneinfo.ZoneInfo(tz)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        known = zoneinfo.available_timezones()
        hint = did_you_mean(tz, known) if known else " This machine has no time zones: install the package tzdata."
        raise ScheduleError(f"tz={quote(tz)}: there is no such time zone.{hint}") from None


def _check_expression(expression: str) -> None:
    if expression.startswith("@") and expression not in NICKNAMES:
        known = [*NICKNAMES, "@every 300s"]
        raise ScheduleError(
            f"{quote(expression)}: there is no such nickname; known are {', '.join(known)}."
            f"{did_you_mean(expression, known)}"
        )
    fields = _fields(expression)
    if len(fields) != 6:
        raise ScheduleError(
            f"{quote(expression)} has {len(fields)} fields; a cron expression has five (minute hour day-of-month month "
            "day-of-week), or six with the second in front."
        )
    _check_fields(expression, fields)


def _check_fields(expression: str, fields: list[str]) -> None:
    """Each field by itself, so that the error can name the one that is wrong."""
    for place, (name, field) in enumerate(zip(FIELDS, fields, strict=True)):
        alone = ["*"] * 6
        alone[place] = field
        try:
            _walk(" ".join(alone), datetime(2026, 1, 1))  # noqa: DTZ001  # a wall time
        except (_cron_error(), ValueError):
            raise ScheduleError(
                f"{quote(expression)}: the {name} field {field.lower()!r} cannot be used; {_WANTED[name]}."
            ) from None
    try:
        _walk(" ".join(fields), datetime(2026, 1, 1))  # noqa: DTZ001
    except _cron_error() as error:
        raise ScheduleError(f"{quote(expression)} cannot be used ({error}): its months have no such day.") from None


_WANTED: Final = {
    "second": "wants 0-59, *, lists (0,30), ranges (0-10) or steps (*/5)",
    "minute": "wants 0-59, *, lists (0,30), ranges (0-10) or steps (*/5)",
    "hour": "wants 0-23, *, lists (8,20), ranges (9-17) or steps (*/2)",
    "day-of-month": "wants 1-31, *, L (the last day), LW (the last weekday), lists, ranges or steps",
    "month": "wants 1-12 or jan-dec, *, lists, ranges or steps",
    "day-of-week": "wants 0-7 or sun-sat (0 and 7 are Sunday; a range runs upwards), *, lists, 5L or mon#1",
}


def _cron_error() -> type[Exception]:
    from cronsim import CronSimError

    return CronSimError


def _walk(fields: str, wall: datetime) -> CronSim:
    try:
        from cronsim import CronSim
    except ImportError:
        raise ScheduleError(
            "cron expressions are read by cronsim, which is not installed here: install the extra `cron` "
            "(from a checkout: pip install -e '.[cron]'), or use every=…, which needs nothing."
        ) from None
    return CronSim(fields, wall)


# ------------------------------------------------------------------------------------------------ wall clocks


def _next_wall(fields: str, wall: datetime) -> datetime | None:
    try:
        return next(_walk(fields, wall), None)
    except (OverflowError, ValueError):  # the year 10000
        return None


def _offset(zone: zoneinfo.ZoneInfo, instant: datetime) -> timedelta:
    offset = instant.astimezone(zone).utcoffset()
    assert offset is not None, "a zone has an offset at every instant"
    return offset


def _after_named(fields: str, zone: zoneinfo.ZoneInfo, instant: datetime) -> datetime | None:
    """The next tick of an expression that names moments of the wall clock."""
    wall: datetime | None = instant.astimezone(zone).replace(tzinfo=None, fold=0)
    while (wall := _next_wall(fields, wall) if wall else None) is not None:
        tick = _first_instant(zone, wall)
        if tick > instant:  # else the clocks show it for the second time
            return tick
    return None


def _first_instant(zone: zoneinfo.ZoneInfo, wall: datetime) -> datetime:
    """When the clocks show this wall time first; where they jump over it, the first instant after the jump."""
    early, late = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (1, 0))
    if early < late:  # a jump: by the offset after it, and by the one before it (PEP 495)
        return _first_change(zone, early, late) or late
    return late


def _after_shown(fields: str, zone: zoneinfo.ZoneInfo, instant: datetime) -> datetime | None:
    """The next tick of an expression that means whatever the clocks show: stretch by stretch of one UTC offset."""
    start, before = instant, instant  # where this stretch begins, and the instant whose next tick is wanted
    while True:
        offset = _offset(zone, start)
        wall = _next_wall(fields, (before + offset).replace(tzinfo=None))
        if wall is None:
            return None
        tick = wall.replace(tzinfo=UTC) - offset
        change = _first_change(zone, start, tick)
        if change is None:
            return tick
        start, before = change, change - _SECOND


def _first_change(zone: zoneinfo.ZoneInfo, low: datetime, high: datetime) -> datetime | None:
    """The first instant in (low, high] with another offset than `low`, to the second; None: there is none."""
    offset, low = _offset(zone, low), low.replace(microsecond=0)
    while low < high:
        step = min(low + _STRIDE, high)
        if _offset(zone, step) != offset:
            while step - low > _SECOND:
                middle = low + (step - low) // _SECOND // 2 * _SECOND
                low, step = (middle, step) if _offset(zone, middle) == offset else (low, middle)
            return step
        low = step
    return None
