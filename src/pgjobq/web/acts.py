"""What a visitor can do to jobs: retry and cancel, one job, some, or all that a filter finds.

Everything arrives at one address, from a form; what concerns queues and schedules goes on to `controls`. More than one
job at a time is shown first: how many it would be, and which; only the form on that page does it. What was done stands
in the queue's audit under the visitor's name, and is logged by the logger `pgjobq.audit`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pgjobq.job import Job, JobState
from pgjobq.search import LOOK_FOR
from pgjobq.web.controls import CONTROLS, back_of, check_role, note, text_of
from pgjobq.web.desk import Desk, desk_of
from pgjobq.web.filters import FIELDS, as_query, read_filter
from pgjobq.web.guard import FIELD, LONGEST_FORM, forgery
from pgjobq.web.rendering import plural, redirect, render
from pgjobq.web.visitors import Role
from pgjobq.web.workflows import WORKFLOW_CONTROLS

__all__ = ["act"]

MOST = 10_000
"""Jobs one act takes at most; whoever wants more does it again."""
PORTION = 500
"""Jobs in one transaction: the rows stay locked that long."""


@dataclass(frozen=True, slots=True)
class Verb:
    """Something that can be done to jobs in these states."""

    name: str
    done: str
    states: frozenset[JobState]


VERBS = {
    "retry": Verb("retry", "retried", frozenset({JobState.FAILED, JobState.CANCELLED})),
    "cancel": Verb(
        "cancel", "cancelled", frozenset({JobState.SCHEDULED, JobState.BLOCKED, JobState.READY, JobState.RUNNING})
    ),
}


async def act(request: Request) -> Response:
    """Do what a form asks for, or show what it would do."""
    form = await _form(request)
    if (reason := forgery(request, text_of(form, FIELD))) is not None:
        raise HTTPException(403, f"This was not done: {reason}.")
    asked = text_of(form, "verb")
    if (control := CONTROLS.get(asked) or WORKFLOW_CONTROLS.get(asked)) is not None:
        check_role(request, control.role)
        return await control.do(request, form)
    verb = VERBS.get(asked)
    if verb is None:
        raise HTTPException(400, "This form says nothing that can be done.")
    back = back_of(form)
    whole = text_of(form, "all") == "1"
    check_role(request, Role.ADMIN if whole else Role.OPERATOR)
    if whole:
        return await _all(request, verb, form, back)
    chosen = _numbers(form)
    if not chosen:
        return redirect(request, back, "No job was chosen: tick some first.")
    if len(chosen) == 1 or text_of(form, "sure") == "1":
        count = await _do(request, verb, chosen)
        note(request, f"{verb.done} {count} jobs (jobs={','.join(map(str, chosen))})")
        return redirect(request, back, _said(verb, count, len(chosen)))
    return await _ask(request, verb, chosen, back)


async def _all(request: Request, verb: Verb, form: FormData, back: str) -> Response:
    """Everything that the filter finds and the verb fits."""
    wanted, confirmed = read_filter(_plain(form)), text_of(form, "sure") == "1"
    if wanted.state not in verb.states:
        wanted_states = ", ".join(sorted(verb.states))
        raise HTTPException(
            400, f"To {verb.name} all that a filter finds, it must name a state: one of {wanted_states}."
        )
    desk, most = desk_of(request), min(_whole(form, "most", MOST), MOST)
    if confirmed:  # as many as were shown, however long it takes to find them again
        found = await desk.survey.apick(wanted, most=most, seconds=None)
        count = await _do(request, verb, found.jobs)
        note(request, f"{verb.done} {count} jobs (filter={as_query(wanted)})")
        return redirect(request, back, _said(verb, count, len(found.jobs)))
    to_the_end = text_of(form, "to_the_end") == "1"
    found = await desk.survey.apick(wanted, most=most, seconds=None if to_the_end else LOOK_FOR)
    return render(
        request,
        "confirm.html",
        verb=verb,
        jobs=await _shown(desk, found.jobs[:10]),
        count=len(found.jobs),
        searched=found.searched if found.after and len(found.jobs) < most else None,
        more=found.after is not None,
        back=back,
        chosen=[],
        fields={name: value for name in FIELDS if (value := getattr(wanted, name)) is not None},
    )


async def _ask(request: Request, verb: Verb, chosen: list[int], back: str) -> Response:
    """Show which of the chosen jobs it would be."""
    jobs = [job for job in await _shown(desk_of(request), chosen) if job.state in verb.states]
    return render(
        request,
        "confirm.html",
        verb=verb,
        jobs=jobs,
        count=len(jobs),
        searched=None,
        more=False,
        back=back,
        fields={},
        chosen=[job.id for job in jobs],
    )


async def _shown(desk: Desk, numbers: list[int]) -> list[Job]:
    """These jobs, in this order, as they may be shown."""
    if not numbers:
        return []
    found = {job.id: job for job in await desk.queue.afind(ids=numbers, limit=MOST)}
    return [desk.veil.job(found[number]) for number in numbers if number in found]


async def _do(request: Request, verb: Verb, jobs: list[int]) -> int:
    queue, name = desk_of(request).queue, request.state.visitor.name
    ordered, changed = sorted(jobs), 0
    for start in range(0, len(ordered), PORTION):
        portion = ordered[start : start + PORTION]
        if verb.name == "retry":
            changed += await queue.aretry_all(ids=portion, by=name)
        else:
            changed += await queue.acancel_all(ids=portion, by=name, running=True)
    return changed


def _said(verb: Verb, count: int, wanted: int) -> str:
    if count == wanted:
        return f"{plural(count, 'job')} {verb.done}."
    states = " or ".join(sorted(verb.states))
    return f"{plural(count, 'job')} {verb.done}; {wanted - count:,} left alone, not {states} any more."


async def _form(request: Request) -> FormData:
    length = request.headers.get("content-length", "")
    if not re.fullmatch(r"[0-9]{1,10}", length) or int(length) > LONGEST_FORM:
        raise HTTPException(413, "This form is larger than any of ours.")
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind != "application/x-www-form-urlencoded":
        raise HTTPException(415, "This is no form of ours.")
    return await request.form(max_fields=20_000)


def _plain(form: FormData) -> Mapping[str, str]:
    return {name: value for name, value in form.items() if isinstance(value, str)}


def _whole(form: FormData, name: str, otherwise: int) -> int:
    text = text_of(form, name)
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 and int(text) else otherwise


def _numbers(form: FormData) -> list[int]:
    given = [value for value in form.getlist("job") if isinstance(value, str) and value.isascii() and value.isdigit()]
    return sorted({int(value) for value in given if len(value) <= 18})
