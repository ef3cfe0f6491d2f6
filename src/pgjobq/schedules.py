"""The queue's doors to schedules: declared in code, and managed at run time. Queue inherits them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, ParamSpec, Protocol, TypedDict, TypeVar, Unpack, cast, overload

from pgjobq.cron import interval_text, timetable
from pgjobq.doors import Doors
from pgjobq.encryption import MEMBER
from pgjobq.errors import ScheduleError
from pgjobq.job import EnqueuedJob
from pgjobq.schedule import Missed, Overlap, Schedule, check_policies
from pgjobq.statements import Statement
from pgjobq.statements import schedules as statements
from pgjobq.task import Call, Door, Task
from pgjobq.task.options import label_fault

__all__ = ["ScheduleDoors"]

P = ParamSpec("P")
R = TypeVar("R")


class When(TypedDict, total=False):
    """What `queue.cron(…)`, `queue.every(…)` and `queue.schedule(…)` take beside the time."""

    tz: str
    missed: Missed
    overlap: Overlap
    args: Mapping[str, Any] | None


class Scheduler(Protocol):
    """A decorator for a function, which becomes a task, or for a task; either way the task comes out."""

    @overload
    def __call__(self, target: Task[P, R], /) -> Task[P, R]: ...

    @overload
    def __call__(self, target: Callable[P, R], /) -> Task[P, R]: ...


@dataclass(frozen=True, slots=True)
class Declaration:
    """A schedule as the code declares it."""

    name: str
    definition: dict[str, Any]


class ScheduleDoors(Doors):
    """What a queue can do with schedules. Each door without a decorator has its async twin, and takes `conn=`."""

    _declared: dict[str, Declaration]

    # ---------------------------------------------------------------------------------------- declared in code

    def cron(
        self,
        expression: str,
        *,
        name: str | None = None,
        tz: str = "UTC",
        missed: Missed = "latest",
        overlap: Overlap = "allow",
        args: Mapping[str, Any] | None = None,
    ) -> Scheduler:
        """Declare that a function (which becomes a task) or a task runs at the times of a cron expression.

        Args:
            expression: `minute hour day-of-month month day-of-week`, six fields with the second in front, or a
                nickname such as `@daily`.
            name: the schedule's name, 1 to 255 characters; None: the task's.
            tz: the time zone whose wall clock is meant.
            missed: for ticks that came while no worker was there: `latest` makes up for the last one, `all` for each
                (the newest 1,000), `skip` for none that is over a minute old.
            overlap: `skip` leaves a tick out while the schedule's last job has not ended.
            args: the task's arguments, by name.

        Raises:
            ScheduleError: the expression, zone or policy cannot be used, or the name is taken.
            EnqueueError: the arguments do not fit the task; the subclass says how.
        """
        return self._scheduler(expression, name, {"tz": tz, "missed": missed, "overlap": overlap, "args": args})

    def every(
        self,
        interval: timedelta | float,
        *,
        name: str | None = None,
        missed: Missed = "latest",
        overlap: Overlap = "allow",
        args: Mapping[str, Any] | None = None,
    ) -> Scheduler:
        """Declare that a function or a task runs at an interval: whole seconds or a timedelta, 1 second to 366 days.

        Its ticks are the multiples of the interval since 1970 in UTC, so that neither restarts nor changes of the
        clocks shift them. The rest is as for `cron`.
        """
        when: When = {"missed": missed, "overlap": overlap, "args": args}
        return self._scheduler(interval_text(interval), name, when)

    def _scheduler(self, expression: str, name: str | None, when: When) -> Scheduler:
        timetable(expression, when.get("tz", "UTC"))
        check_policies(when.get("missed"), when.get("overlap"))

        def declare(target: Any) -> Any:
            task = target if isinstance(target, Task) else self._as_task(target)
            self._declare(_label(task.name if name is None else name), _definition(expression, when, task))
            return task

        return cast("Scheduler", declare)

    def _as_task(self, function: Callable[P, R]) -> Task[P, R]:
        task = Task(function, cast("Door", self))
        self.registry.add(task)
        return task

    def _declare(self, name: str, definition: dict[str, Any]) -> None:
        known = self._declared.get(name)
        if known is not None and known.definition["task"] != definition["task"]:
            raise ScheduleError(f"two schedules are called {name!r}; give one of them a name of its own: name=….")
        if known is not None and known.definition != definition:
            raise ScheduleError(
                f"the task {definition['task']!r} has two schedules called {name!r} ("
                f"{known.definition['expression']!r} and "
                f"{definition['expression']!r}); give the second a name of its own: name=…."
            )
        self._declared[name] = Declaration(name, definition)

    @property
    def declares_schedules(self) -> bool:
        """Whether the code declares any."""
        return bool(self._declared)

    def declarations(self) -> str:
        """What the code declares, as JSON: for the workers, which tell the database when they start."""
        return json.dumps({name: one.definition for name, one in self._declared.items()})

    def declare_schedules(self, app: str | None = None, *, conn: object = None) -> None:
        """Tell the database what the code declares, as workers do when they start. `app` is what they were started
        with: what it declared before and no longer does is retired. None: nothing is retired."""
        self._run(statements.declare(self.schema, app, self.declarations()), conn)

    # ---------------------------------------------------------------------------------------- managed at run time

    def schedule(
        self,
        name: str,
        when: str | timedelta,
        task: str | Task[..., Any] | Call,
        args: Mapping[str, Any] | None = None,
        *,
        by: str | None = None,
        conn: object = None,
        **options: Unpack[Policies],
    ) -> None:
        """Create a schedule, or change the one of that name to be exactly this.

        Args:
            name: 1 to 255 characters.
            when: a cron expression or, for an interval, a timedelta.
            task: a task or its name, with its arguments in `args`; or a call with options of its own:
                `report.using(queue="slow").call(day=1)`.
            options: tz, missed and overlap as for `cron`.
            by: who wants this, for the audit; None: the database's role. So in the doors below.
            conn: your own connection; None: one of ours.

        Raises ScheduleError, UnknownTask or another EnqueueError when something does not fit; nothing is written then.
        """
        self._run(self._put(name, when, task, args, options, by), conn)

    async def aschedule(
        self,
        name: str,
        when: str | timedelta,
        task: str | Task[..., Any] | Call,
        args: Mapping[str, Any] | None = None,
        *,
        by: str | None = None,
        conn: object = None,
        **options: Unpack[Policies],
    ) -> None:
        """The async twin of `schedule`."""
        await self._arun(self._put(name, when, task, args, options, by), conn)

    def _put(
        self, name: str, when: object, task: object, args: Mapping[str, Any] | None, options: Policies, by: str | None
    ) -> Statement[None]:
        expression = when if isinstance(when, str) else interval_text(when)
        how: When = {"args": args, **options}
        timetable(expression, how.get("tz", "UTC"))
        check_policies(how.get("missed", "latest"), how.get("overlap", "allow"))
        if not isinstance(task, Task | Call):
            task = self.registry.get(cast("str", task))
        return statements.put(self.schema, _label(name), _definition(expression, how, task), by)

    def schedules(self, name: str | None = None, *, conn: object = None) -> list[Schedule]:
        """All schedules by name, or only the one of this name."""
        return [self._without_secrets(one) for one in self._run(statements.schedules(self.schema, name), conn)]

    async def aschedules(self, name: str | None = None, *, conn: object = None) -> list[Schedule]:
        """The async twin of `schedules`."""
        return [self._without_secrets(one) for one in await self._arun(statements.schedules(self.schema, name), conn)]

    def _without_secrets(self, schedule: Schedule) -> Schedule:
        """Without the values of arguments that its task declares as secret."""
        if schedule.task not in self.registry or MEMBER in schedule.args:
            return schedule
        codec = self.registry.get(schedule.task).codec
        return replace(schedule, args=codec.shown(schedule.args)) if codec.hides_any else schedule

    def pause_schedule(
        self, name: str, reason: str | None = None, *, by: str | None = None, conn: object = None
    ) -> bool:
        """Make no more jobs until it is resumed; restarts of workers do not change that. False: it was paused already.

        Raises UnknownSchedule, as the doors below do, when there is none of that name.
        """
        return self._run(statements.pause(self.schema, name, reason, by), conn)

    async def apause_schedule(
        self, name: str, reason: str | None = None, *, by: str | None = None, conn: object = None
    ) -> bool:
        """The async twin of `pause_schedule`."""
        return await self._arun(statements.pause(self.schema, name, reason, by), conn)

    def resume_schedule(self, name: str, *, by: str | None = None, conn: object = None) -> bool:
        """Go on with the next tick; those that passed meanwhile are not made up for. False: it was not paused."""
        return self._run(statements.resume(self.schema, name, by), conn)

    async def aresume_schedule(self, name: str, *, by: str | None = None, conn: object = None) -> bool:
        """The async twin of `resume_schedule`."""
        return await self._arun(statements.resume(self.schema, name, by), conn)

    def run_schedule(self, name: str, *, by: str | None = None, conn: object = None) -> EnqueuedJob | None:
        """Make a job now, besides the ticks, even while it is paused. None: with `overlap="skip"`, while its last job
        has not ended."""
        return self._run(statements.run(self.schema, name, by), conn)

    async def arun_schedule(self, name: str, *, by: str | None = None, conn: object = None) -> EnqueuedJob | None:
        """The async twin of `run_schedule`."""
        return await self._arun(statements.run(self.schema, name, by), conn)

    def reset_schedule(self, name: str, *, by: str | None = None, conn: object = None) -> bool:
        """Undo what was changed at run time: as the code declares it. False: it is so, or no code declares it."""
        return self._run(statements.reset(self.schema, name, by), conn)

    async def areset_schedule(self, name: str, *, by: str | None = None, conn: object = None) -> bool:
        """The async twin of `reset_schedule`."""
        return await self._arun(statements.reset(self.schema, name, by), conn)

    def delete_schedule(self, name: str, *, by: str | None = None, conn: object = None) -> bool:
        """Delete it; its jobs stay. One that code declares comes back when a worker starts: pause that one instead."""
        return self._run(statements.delete(self.schema, name, by), conn)

    async def adelete_schedule(self, name: str, *, by: str | None = None, conn: object = None) -> bool:
        """The async twin of `delete_schedule`."""
        return await self._arun(statements.delete(self.schema, name, by), conn)


class Policies(TypedDict, total=False):
    """What `queue.schedule(…)` takes by name."""

    tz: str
    missed: Missed
    overlap: Overlap


def _definition(expression: str, when: When, task: Task[..., Any] | Call) -> dict[str, Any]:
    call = task if isinstance(task, Call) else task.call(**(when.get("args") or {}))
    if call is task and when.get("args"):
        raise ScheduleError("args= and a call with arguments of its own are two answers to one question; give one.")
    for option in ("delay", "run_at", "conn"):
        if getattr(call.options, option) is not None:
            raise ScheduleError(f"a scheduled call takes no {option}=: its tick says when, and a worker enqueues it.")
    if isinstance(call.options.expires, datetime):
        raise ScheduleError("a scheduled call takes no instant as expires=: give seconds from the tick on.")
    if call.options.depends_on:
        raise ScheduleError("a scheduled call takes no depends_on=: the jobs of its ticks are not there yet.")
    tz, missed, overlap = when.get("tz", "UTC"), when.get("missed", "latest"), when.get("overlap", "allow")
    return statements.definition(expression, tz, missed, overlap, call)


def _label(name: object) -> str:
    fault = label_fault("name", name)
    if fault is not None:
        raise ScheduleError(f"a schedule's {fault}")
    return cast("str", name)
