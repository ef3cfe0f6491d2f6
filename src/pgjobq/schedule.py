"""A schedule as a value, and what is to be done when it is looked at; pure, and without a clock of its own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, get_args

from pgjobq.cron import timetable
from pgjobq.errors import ScheduleError
from pgjobq.wording import did_you_mean, quote

__all__ = ["MOST_MISSED", "NEVER", "Missed", "Overlap", "Plan", "Schedule", "check_policies", "plan"]

Missed = Literal["skip", "latest", "all"]
Overlap = Literal["allow", "skip"]

MOST_MISSED: Final = 1_000
"""Ticks that `missed="all"` makes up for at the most: the newest ones."""
ON_TIME: Final = timedelta(seconds=60)
"""How late `missed="skip"` still takes a tick: a restart or a failover is no reason to leave one out."""
NEVER: Final = datetime(9999, 12, 31, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Schedule:
    """One schedule as the database has it.

    `next_at` is None while it makes no jobs, or until a worker has planned it; `last_at` and `last_job` tell of the
    last tick that made a job (or of the last `run_schedule`). `edited`: changed at run time, so that what the code
    declares does not count until `reset_schedule`. `retired_at`: since when the code of `app` no longer declares it.
    """

    name: str
    task: str
    expression: str
    tz: str
    missed: str
    overlap: str
    queue: str
    priority: int
    ref: str | None
    args: dict[str, Any]
    next_at: datetime | None
    last_at: datetime | None
    last_job: int | None
    paused_at: datetime | None
    paused_because: str | None
    retired_at: datetime | None
    changed_at: datetime
    app: str | None
    edited: bool

    def next_runs(self, n: int = 5, after: datetime | None = None) -> list[datetime]:
        """The next `n` ticks after an instant (None: now, by this machine's clock), in the schedule's own time zone,
        as if it were not paused.

        Raises ScheduleError when the expression or the zone is unknown on this machine.
        """
        return timetable(self.expression, self.tz).next_runs(n, after)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a look at a schedule leads to: the ticks that make a job now, those left out, and when to look again."""

    ticks: list[datetime]
    left_out: list[datetime]
    next_at: datetime


def plan(definition: dict[str, Any], since: datetime, now: datetime) -> Plan:
    """What to do about the ticks after `since`, up to and with `now`.

    Raises ScheduleError when this machine cannot tell (an expression or zone it does not know, no cronsim).
    """
    table = timetable(definition["expression"], definition.get("tz") or "UTC")
    following = table.after(now) or NEVER
    missed = definition.get("missed") or "latest"
    ticks = table.newest(since, now, MOST_MISSED if missed == "all" else 1) if since < now else []
    if missed == "skip" and ticks and now - ticks[0] > ON_TIME:
        return Plan([], ticks, following)
    return Plan(ticks, [], following)


def check_policies(missed: object, overlap: object) -> None:
    """Raises ScheduleError for a policy that does not exist."""
    for name, value, known in (("missed", missed, get_args(Missed)), ("overlap", overlap, get_args(Overlap))):
        if value not in known:
            hint = did_you_mean(value, known) if isinstance(value, str) else ""
            raise ScheduleError(f"{name}={quote(value)}: wants one of {', '.join(map(repr, known))}.{hint}")
