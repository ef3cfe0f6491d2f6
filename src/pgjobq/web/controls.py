"""What a visitor can do to queues, tasks, schedules and to one waiting job: pause, resume, run now, change.

Each is written to the queue's audit, under the visitor's name, by the queue's own doors.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pgjobq.errors import EnqueueError, ScheduleError
from pgjobq.job import Job
from pgjobq.web.desk import Desk, desk_of
from pgjobq.web.rendering import redirect, stamp, took
from pgjobq.web.visitors import Role

__all__ = ["CONTROLS", "back_of", "can_edit_arguments", "check_role", "note", "text_of"]

_audit = logging.getLogger("pgjobq.audit")
_BACK = re.compile(r"/(?:$|\?|[a-z][\w/]*)[^\s\\]*")
LONGEST_NAME = 255
LONGEST_REASON = 300
LONGEST_PAUSE = 60 * 24 * 365
"""Minutes."""


@dataclass(frozen=True, slots=True)
class Control:
    """Something that can be done, and the least that may do it."""

    role: Role
    do: Callable[[Request, FormData], Awaitable[Response]]


# ---------------------------------------------------------------------------------------------- queues and tasks


async def _pause(request: Request, form: FormData) -> Response:
    kind, name = _target(form)
    reason = text_of(form, "reason").strip()[:LONGEST_REASON] or None
    minutes = text_of(form, "minutes").strip()
    until = timedelta(minutes=_whole(minutes, "minutes", 1, LONGEST_PAUSE)) if minutes else None
    queue = desk_of(request).queue
    await queue.apause(**{kind: name}, reason=reason, until=until, by=_name(request))
    note(request, f"paused {kind} {name}")
    return redirect(request, back_of(form), f"The {kind} {name} is paused: what runs goes on, nothing new starts.")


async def _resume(request: Request, form: FormData) -> Response:
    kind, name = _target(form)
    done = await desk_of(request).queue.aresume(**{kind: name}, by=_name(request))
    note(request, f"resumed {kind} {name}")
    return redirect(request, back_of(form), f"The {kind} {name} {'goes on' if done else 'was not paused'}.")


def _target(form: FormData) -> tuple[str, str]:
    """A queue, a task or a gate, by name."""
    kind, name = text_of(form, "kind"), text_of(form, "name")
    if kind not in ("queue", "task", "gate") or not 1 <= len(name) <= LONGEST_NAME or "\0" in name:
        raise HTTPException(400, "This form names no queue, no task and no gate.")
    return kind, name


async def _limit(request: Request, form: FormData) -> Response:
    queue, name = desk_of(request).queue, _queue_name(form)
    waiting = text_of(form, "waiting").strip()
    if not waiting:
        done = await queue.aunlimit(name, by=_name(request))
        said = "any number of jobs may wait in it." if done else "it had no limit."
    else:
        most = _whole(waiting, "waiting", 1, 2**31 - 1)
        drops = text_of(form, "when_full") == "drop_oldest"
        await queue.alimit(name, waiting=most, when_full="drop_oldest" if drops else "raise", by=_name(request))
        said = f"at most {most:,} jobs may wait in it."
    note(request, f"queue {name}: {said}")
    return redirect(request, back_of(form), f"The queue {name}: {said}")


async def _ageing(request: Request, form: FormData) -> Response:
    queue, name = desk_of(request).queue, _queue_name(form)
    step = text_of(form, "step").strip()
    if not step:
        done = await queue.aunset_ageing(name, by=_name(request))
        said = "jobs keep their priority." if done else "its jobs did not rise."
    else:
        seconds = _whole(step, "step", 1, 366 * 86_400)
        up_to = _whole(text_of(form, "up_to").strip() or "-9", "up_to", -9, 9)
        await queue.aset_ageing(name, step=seconds, up_to=up_to, by=_name(request))
        said = f"jobs rise by one priority each {took(seconds)}, up to {up_to}."
    note(request, f"queue {name}: {said}")
    return redirect(request, back_of(form), f"The queue {name}: {said}")


def _queue_name(form: FormData) -> str:
    name = text_of(form, "name")
    if not 1 <= len(name) <= LONGEST_NAME or "\0" in name:
        raise HTTPException(400, "This form names no queue.")
    return name


def _whole(text: str, name: str, least: int, most: int) -> int:
    """A whole number of these. Refused by its length first: `int` raises for thousands of digits, too."""
    if not re.fullmatch(r"-?[0-9]{1,10}", text) or not least <= int(text) <= most:
        raise HTTPException(400, f"{name} is {text[:40]!r}: it wants a whole number from {least:,} to {most:,}.")
    return int(text)


# ---------------------------------------------------------------------------------------------- schedules


async def _pause_schedule(request: Request, form: FormData) -> Response:
    name, reason = text_of(form, "name"), text_of(form, "reason").strip()[:LONGEST_REASON] or None
    return await _schedule(
        request, form, "is paused", desk_of(request).queue.apause_schedule(name, reason, by=_name(request))
    )


async def _resume_schedule(request: Request, form: FormData) -> Response:
    queue, name = desk_of(request).queue, text_of(form, "name")
    return await _schedule(request, form, "goes on", queue.aresume_schedule(name, by=_name(request)))


async def _run_schedule(request: Request, form: FormData) -> Response:
    queue, name = desk_of(request).queue, text_of(form, "name")
    return await _schedule(request, form, "has made a job", queue.arun_schedule(name, by=_name(request)))


async def _schedule(request: Request, form: FormData, done: str, doing: Awaitable[object]) -> Response:
    name, back = text_of(form, "name"), back_of(form)
    try:
        made = await doing
    except ScheduleError as error:
        return redirect(request, back, f"Nothing was done: {error}")
    note(request, f"schedule {name} {done}")
    if made is None:
        return redirect(request, back, f"{name} made no job: its last one has not ended, and they must not overlap.")
    return redirect(request, back, f"{name} {done}." if made else f"{name}: nothing to do, it is so already.")


# ---------------------------------------------------------------------------------------------- one waiting job


def can_edit_arguments(desk: Desk, job: Job) -> bool:
    """Whether a visitor sees all of a job's arguments, so that writing them back loses nothing, and the task is known
    here, so that they can be checked."""
    known = job.task in desk.queue.registry and not desk.queue.registry.get(job.task).codec.hides_any
    return known and not desk.veil.hides and "$enc" not in job.args


async def _edit(request: Request, form: FormData) -> Response:
    desk, number, back = desk_of(request), text_of(form, "job"), back_of(form)
    if not (number.isascii() and number.isdigit() and len(number) <= 18):
        raise HTTPException(400, "This form names no job.")
    job = await desk.queue.aget(int(number))
    if job is None:
        raise HTTPException(404, f"There is no job {number}.")
    try:
        arguments = _arguments(request, form, desk, job)
        changes: dict[str, Any] = {}
        if (priority := text_of(form, "priority").strip()) and priority != str(job.priority):
            changes["priority"] = int(priority)
        if (due := text_of(form, "due").strip()) == "now":
            changes["delay"] = 0
        elif due and due != stamp(job.run_at):
            changes["run_at"] = datetime.fromisoformat(due).replace(tzinfo=UTC)
        if arguments is None and not changes:
            return redirect(request, back, "Nothing was changed: the form said what is so already.")
        done = await desk.queue.aedit(job.id, arguments, **changes, by=_name(request))
    except (ValueError, EnqueueError) as error:
        return redirect(request, back, f"Nothing was changed: {error}")
    note(request, f"edited job {job.id}")
    return redirect(request, back, f"Job {job.id} {'was changed' if done else 'does not wait any more'}.")


def _arguments(request: Request, form: FormData, desk: Desk, job: Job) -> Mapping[str, Any] | None:
    """The arguments that the form gives, None when they are what they were."""
    text = text_of(form, "args").strip()
    if not text:
        return None
    given = json.loads(text)
    if not isinstance(given, dict):
        raise ValueError("arguments are an object: every one by its name")
    if given == job.args:
        return None
    check_role(request, Role.ADMIN)
    if not can_edit_arguments(desk, job):
        raise ValueError("the arguments of this job are not all known here")
    return given


CONTROLS: Mapping[str, Control] = {
    "pause": Control(Role.ADMIN, _pause),
    "resume": Control(Role.ADMIN, _resume),
    "limit": Control(Role.ADMIN, _limit),
    "ageing": Control(Role.ADMIN, _ageing),
    "pause_schedule": Control(Role.ADMIN, _pause_schedule),
    "resume_schedule": Control(Role.ADMIN, _resume_schedule),
    "run_schedule": Control(Role.OPERATOR, _run_schedule),
    "edit": Control(Role.OPERATOR, _edit),
}

# ---------------------------------------------------------------------------------------------- for every act


def check_role(request: Request, needed: Role) -> None:
    """Refuse who may not, and everybody where nobody may."""
    if desk_of(request).read_only:
        raise HTTPException(403, "This dashboard is for looking only.")
    role = request.state.visitor.role
    if not role.may(needed):
        raise HTTPException(403, f"This was not done: it takes the role {needed}, and yours is {role}.")


def note(request: Request, what: str) -> None:
    """Log what was done, on one line."""
    _audit.info("%s %s", " ".join(_name(request).split()), " ".join(what.split()))


def back_of(form: FormData) -> str:
    """The page of ours that the form came from."""
    back = text_of(form, "back")
    return back if _BACK.fullmatch(back) and not back.startswith("//") else "/jobs"


def text_of(form: FormData, name: str) -> str:
    """A field's text; empty when it is not there, or a file."""
    value = form.get(name, "")
    return value if isinstance(value, str) else ""


def _name(request: Request) -> str:
    return str(request.state.visitor.name)
