"""The chore of schedules: what is due becomes jobs, and each schedule learns when it is due next.

Any worker may do it, and all may at once: the database takes one plan per tick (the function tick() in schema.sql).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import psycopg

from pgjobq.engine.wire import is_passing
from pgjobq.errors import ScheduleError
from pgjobq.events import ChoreFailed, TickLeftOut
from pgjobq.logs import Journal
from pgjobq.outcome import describe
from pgjobq.schedule import Plan, plan
from pgjobq.statements.schedules import Due

__all__ = ["Ticks"]

PLANNED_AT_ONCE = 100
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 1.0
"""Seconds before another look at what is due and yet cannot be dealt with: somebody is changing it, or this machine
does not understand it."""

_decode = msgspec.json.Decoder(Due).decode
_encode = msgspec.json.Encoder().encode


class Ticks:
    """Fires schedules through `say`, which runs a statement by its name."""

    def __init__(self, say: Callable[..., list[tuple[Any, ...]]], journal: Journal) -> None:
        self._say = say
        self._journal = journal
        self._told: dict[str, int] = {}
        self._pause = FIRST_PAUSE

    def fire(self) -> float:
        """Deal with what is due; gives the seconds to wait before the next try when nothing could be done."""
        stuck: list[str] = []
        done, full = False, True
        while full:
            due = [_decode(row[0]) for row in self._say("due_schedules", PLANNED_AT_ONCE, stuck)]
            before = len(stuck)
            plans = [(one, made) for one in due if (made := self._planned(one, stuck)) is not None]
            moved = self._tick(plans, stuck) if plans else False
            done = done or moved
            full = len(due) == PLANNED_AT_ONCE and (moved or len(stuck) > before)
        self._pause = FIRST_PAUSE if done else min(self._pause * 2, LONGEST_PAUSE)
        return 0.0 if done else self._pause

    def _planned(self, due: Due, stuck: list[str]) -> Plan | None:
        """None: this machine cannot tell when it is due. Another one may; the other schedules go on meanwhile."""
        try:
            return plan(due.definition, due.since, due.now)
        except (ScheduleError, LookupError, TypeError, ValueError) as error:
            self._complain(due, error)
            stuck.append(due.name)
            return None

    def _tick(self, plans: list[tuple[Due, Plan]], stuck: list[str]) -> bool:
        """Whether any of the plans counted. A schedule whose job cannot be enqueued must not stop the others."""
        try:
            rows = self._say("tick", _encode([_order(due, made) for due, made in plans]).decode())
        except psycopg.Error as error:
            if is_passing(error):
                raise
            if len(plans) > 1:
                return sum(self._tick([one], stuck) for one in plans) > 0  # each of them, not only up to the first
            self._complain(plans[0][0], error)
            stuck.append(plans[0][0].name)
            return False
        left_out = {due.name: made.left_out for due, made in plans}
        for name, at, job in rows:
            if at is not None and job is None:
                self._journal.emit(
                    TickLeftOut(
                        schedule=name, tick=at, why="its last job, or another with its unique key, has not ended"
                    )
                )
            for late in left_out.pop(name, []):
                self._journal.emit(TickLeftOut(schedule=name, tick=str(late), why="it was missed"))
        return bool(rows)

    def _complain(self, due: Due, error: BaseException) -> None:
        """Once, until somebody changes the schedule."""
        if self._told.get(due.name) != due.revision:
            self._told[due.name] = due.revision
            told = describe(error)
            self._journal.emit(ChoreFailed(chore=f"schedule {due.name}", error=told.kind, error_message=told.message))


def _order(due: Due, made: Plan) -> dict[str, Any]:
    """A plan as tick() takes it."""
    return {
        "name": due.name,
        "revision": due.revision,
        "was": due.next_at,
        "until": due.now,
        "next_at": made.next_at,
        "ticks": made.ticks,
    }
